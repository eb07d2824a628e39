"""Trains dataset/tagger.tsv.gz on captions that NLTK's own tagger has tagged.

    python -m nltk.downloader averaged_perceptron_tagger_eng        # once, by hand: the teacher
    python evaluate/train_tagger.py --caption_paths captions_a.jsonl captions_b.jsonl --tagger_path new.tsv.gz
    python evaluate/train_tagger.py ... --check_paths captions_c.jsonl --gold_objects_path objects.json

Captions of `--check_paths` are kept out of the training, word for word, and serve to compare tagger and teacher.
Nothing else needs this: the trained file is bundled.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import ArgumentError, DataError, first_line
from common.files.gold import read_truth
from common.files.record_files import read_captions
from common.files.records import Caption
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.progress import announce, say
from evaluate.chair.parser import ChairParser
from evaluate.tagger.nltk_tagger import nltk_tagger
from evaluate.tagger.tagger import class_of, read_model
from evaluate.tagger.tokens import words
from evaluate.tagger_training.check import HEADER, agreement
from evaluate.tagger_training.training import train, write_model
from evaluate.tagger_training.variants import variants


@dataclass
class TaggerArguments:
    """What to train on and where the model goes."""

    caption_paths: list[str] | None = flag(None, "caption files")  # noqa: RUF009 (flag makes a field)
    tagger_path: str | None = flag(None, "where the trained model goes (.tsv.gz)")
    check_paths: list[str] | None = flag(None, "caption files to compare with the teacher on")  # noqa: RUF009
    gold_objects_path: str | None = flag(None, "JSON file 'image id': [object names], for CHAIR of the check")
    variants: int = flag(400_000, "short texts around the words that matter")
    rounds: int = flag(14, "rounds over all decisions")
    seed: int = seed_flag("seed of variants and order")


def distinct_tokens(captions: Sequence[Caption], left_out: Sequence[Caption]) -> list[list[str]]:
    """Tokens of each different caption that is not left out. Raises DataError if none is left."""
    texts = dict.fromkeys(c.caption for c in captions)
    for caption in left_out:
        texts.pop(caption.caption, None)
    if not texts:
        raise DataError("--check_paths holds every caption of --caption_paths; nothing is left to train on")
    return [words(text) for text in texts]


def read_all(paths: Sequence[str]) -> list[Caption]:
    """The captions of several files."""
    return [caption for path in paths for caption in read_captions(path, allow_empty=True)]


def train_on(captions: Sequence[Caption], left_out: Sequence[Caption], args: TaggerArguments, path: Path) -> None:
    """Tag, vary, train, write. Raises MissingDependencyError without the teacher's data."""
    teacher, parser = nltk_tagger().tags, ChairParser("standard")
    base = [(tokens, teacher(tokens)) for tokens in distinct_tokens(captions, left_out)]

    def outcome(token: str, tag: str) -> str | None:
        """What a token counts as with a tag."""
        return parser.counts_as(token, class_of(tag))

    more = variants(base, parser.class_dependent, outcome, teacher, args.variants, args.seed)
    announce(f"training on {len(base)} captions and {len(more)} variants, {args.rounds} rounds")
    write_model(path, *train(base + more, parser.class_dependent, args.rounds, args.seed))


def recognise(path: Path) -> None:
    """Raise DataError unless a file is a tagger of this kind."""
    try:
        read_model(path)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"no tagger: {first_line(error)}") from None


def main() -> None:
    """Parse, train, compare. Raises UserError."""
    (args,) = parse((TaggerArguments,), __doc__ or "")
    if not args.caption_paths or args.tagger_path is None:
        raise ArgumentError("--caption_paths and --tagger_path are needed")
    check_targets({"tagger_path": args.tagger_path}, [args])
    path = Path(args.tagger_path)
    target = WholeTarget(path, "tagger_path", "evaluate.train_tagger", recognise)
    target.check()
    checks = {path: read_captions(path, allow_empty=True) for path in args.check_paths or ()}
    gold = read_truth(None, args.gold_objects_path, ChairParser()).objects
    with taken([target]):
        train_on(read_all(args.caption_paths), [c for found in checks.values() for c in found], args, path)
    student = ChairParser("standard", tagger=read_model(path))
    rows = [
        agreement(Path(p).stem, c, student, ChairParser("standard", tagger=nltk_tagger()), gold)
        for p, c in checks.items()
    ]
    say("\n".join([HEADER, *(row.line() for row in rows)]) if rows else f"wrote {path}")


if __name__ == "__main__":
    run(main)
