"""Two results over the same items: differences with paired 95 % intervals and p-values.

    python evaluate/compare.py base.json unlearned.json
    python evaluate/compare.py base.json unlearned.json --result_path comparison.json

Refuses results of different tasks, definitions, versions, prompts, parsers, decodings or items.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.json_text import shown_names
from common.files.storage import require_file
from common.outputs.targets import check_targets
from common.progress import say
from evaluate.metrics.paired import Difference, McNemar, differences, mcnemar
from evaluate.results.outputs import check_result, write_result
from evaluate.results.result_files import EVENT_COLUMNS, StoredResult, formulas_of, read_result
from evaluate.results.scoring import number


@dataclass
class CompareArguments:
    """Two results, also as the first two words of the command line."""

    first: str | None = flag(None, "result of the first run (a --result_path file)")
    second: str | None = flag(None, "result of the second run")
    result_path: str | None = flag(None, "where to write the comparison as JSON")
    seed: int = seed_flag("seed of the bootstrap")


ARGUMENTS = (CompareArguments,)
ENTRIES = ("differences", "mcnemar")  # of the file that is written


def named(argv: Sequence[str]) -> list[str]:
    """The command line, bare words as flags: the first and the second result. Raises ArgumentError for a third."""
    flags: list[str] = []
    words: list[str] = []
    left = iter(argv)
    for word in left:
        if not word.startswith("-"):
            words.append(word)
        elif "=" in word:
            flags.append(word)
        else:
            flags += [word, *itertools.islice(left, 1)]  # every flag takes one value
    if len(words) > 2:
        raise ArgumentError(f"two results are compared, {len(words)} were given: {' '.join(words)}")
    return [part for pair in zip(("--first", "--second"), words, strict=False) for part in pair] + flags


def require_comparable(first: StoredResult, second: StoredResult) -> None:
    """Raise DataError, naming what differs, unless both results measure the same thing on the same items."""
    for name in ("task", "definition", "version"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            raise DataError(f"{first.path} and {second.path} have different {name}s: '{one}' and '{two}'")
    for name in sorted(first.protocol.keys() & second.protocol.keys()):
        if first.protocol[name] != second.protocol[name]:
            raise DataError(
                f"{first.path} and {second.path} have different {name}s: "
                f"{first.protocol[name]} and {second.protocol[name]}"
            )
    one_ids, two_ids = set(first.units.ids), set(second.units.ids)
    if one_ids != two_ids:
        raise DataError(
            f"{first.path} and {second.path} are over different items: {len(one_ids - two_ids)} only in the first, "
            f"{len(two_ids - one_ids)} only in the second; score the same images for both"
        )
    if first.units.columns != second.units.columns:
        apart = sorted(set(first.units.columns) ^ set(second.units.columns))
        raise DataError(
            f"{first.path} and {second.path} count different things of their items: {shown_names(apart)} in one of "
            "them only; score both anew, against the same truth"
        )


def table(found: dict[str, Difference]) -> str:
    """The differences as lines for the terminal, in Markdown."""
    lines = ["| score | first | second | difference | 95 % interval | p |", "|---|---|---|---|---|---|"]
    for name, d in found.items():
        first, second, change = (number(name, v) for v in (d.first, d.second, d.difference))
        low, high = number(name, d.low), number(name, d.high)
        lines.append(f"| {name} | {first} | {second} | {change} | {low} to {high} | {d.p:.3f} |")
    return "\n".join(lines)


def compare(first: StoredResult, second: StoredResult, seed: int) -> tuple[dict[str, Difference], McNemar | None]:
    """Differences of all scores, and McNemar's test where items have a yes/no outcome. Raises DataError."""
    require_comparable(first, second)
    try:
        found = differences(first.units, second.units, formulas_of(first), seed)
    except KeyError as error:
        raise DataError(f"{first.path}: its items have no count {error}, which {first.task} is scored by") from None
    column = EVENT_COLUMNS.get(first.task)
    return found, mcnemar(first.units, second.units, column) if column else None


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, compare, print. Raises UserError."""
    words = named(sys.argv[1:] if argv is None else argv)
    (args,) = parse(ARGUMENTS, __doc__ or "", words, step="compare")
    if args.first is None or args.second is None:
        raise ArgumentError("two results are needed: python evaluate/compare.py base.json unlearned.json (see --help)")
    check_targets({"result_path": args.result_path}, first_path=args.first, second_path=args.second)
    if args.result_path:
        check_result(args.result_path, ENTRIES)
    first, second = (read_result(require_file(path, "the command line")) for path in (args.first, args.second))
    found, events = compare(first, second, args.seed)
    say(f"{first.task} ({first.definition}, version {first.version}), {len(first.units.ids)} items")
    say(table(found))
    if events is not None:
        what = EVENT_COLUMNS[first.task]
        say(
            f"McNemar, {what}: {events.only_first} only in the first, {events.only_second} only in the second, "
            f"p {events.p:.3g}"
        )
    if args.result_path:
        test = asdict(events) if events else None
        value = dict(zip(ENTRIES, ({n: asdict(d) for n, d in found.items()}, test), strict=True))
        write_result(args.result_path, value, ENTRIES)


if __name__ == "__main__":
    run(main)
