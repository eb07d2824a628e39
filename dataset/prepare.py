"""Check that the data of others lie where the scripts look for them; say exactly what is missing.

    python dataset/prepare.py --kind coco|llava|published [--root DIR]

Prints one line a file or folder, with what to do about it. Downloads nothing. Exit code 2 if something is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.images import image_names
from common.files.places import image_folder
from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.records import SentenceSample, SpanSample
from common.files.storage import require_dir
from common.paths import DATASET, display
from common.progress import say
from dataset.expected_files import KINDS, LAYOUTS, Expected


@dataclass
class PrepareArguments:
    """What to check, and where."""

    kind: str = flag("coco", "which data", KINDS)
    root: str = flag(str(DATASET), "folder below which they lie")


@dataclass(frozen=True)
class Row:
    """One line of the table: a path, what was found there, whether that is enough, and what to do if not."""

    path: str
    found: str
    ok: bool
    remedy: str
    optional: bool = False

    @property
    def missing(self) -> bool:
        """Whether something that is needed is not there."""
        return not self.ok and not self.optional


def check(expected: Expected, root: Path) -> Row:
    """Compare one expectation with the disk. An empty file counts as missing."""
    path = root / expected.path
    if expected.images:
        number = len(image_names(image_folder(path))) if path.is_dir() else 0
        found, ok = f"{number:,} of {expected.images:,} images", number >= expected.images
        if expected.images == 1:
            found = f"{number:,} images"
    else:
        size = path.stat().st_size if path.is_file() else 0
        found, ok = (f"{size / 1e6:,.1f} MB" if size else "not there"), size > 0
    return Row(expected.path, found, ok, f"{expected.purpose}; get it from {expected.source}", expected.optional)


def check_published(root: Path) -> list[Row]:
    """Whether the published sample files parse, and whether the images that they name are there."""
    folder, rows = root / "images", []
    have = set(image_names(image_folder(folder))) if folder.is_dir() else set()
    for name, read in (("pos_neg.json", read_span_samples), ("sentences.json", read_sentence_samples)):
        if not (root / name).is_file():
            continue
        try:
            samples: Sequence[SpanSample | SentenceSample] = read(root / name)
        except DataError as error:
            rows.append(Row(name, "cannot be read", False, str(error)))
            continue
        absent = sorted({sample.image for sample in samples} - have)
        found = f"{len(samples):,} entries, {len(absent):,} of their images not there"
        remedy = f"the first is {absent[0]}; put it into images" if absent else ""
        rows.append(Row(name, found, not absent, remedy))
    return rows


def table(rows: Iterable[Row]) -> str:
    """The rows as text, remedies beneath what is missing."""
    rows = list(rows)
    width = max(len(row.path) for row in rows)
    lines = []
    for row in rows:
        state = "ok" if row.ok else "optional" if row.optional else "MISSING"
        lines.append(f"{state:<9}{row.path:<{width}}  {row.found}")
        if not row.ok:
            lines.append(f"{'':<9}  {row.remedy}")
    return "\n".join(lines)


ARGUMENTS = (PrepareArguments,)


def main() -> None:
    """Print the table. Raises DataError if something is missing."""
    (args,) = parse(ARGUMENTS, __doc__ or "", step="prepare")
    root = require_dir(args.root, "--root")
    rows = [check(expected, root) for expected in LAYOUTS[args.kind]]
    if args.kind == "published":
        rows += check_published(root)
    say(table(rows))
    missing = sum(row.missing for row in rows)
    if missing:
        raise DataError(f"{missing} of {len(rows)} parts of '{args.kind}' are missing or incomplete in {display(root)}")


if __name__ == "__main__":
    run(main)
