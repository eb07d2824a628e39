"""Trains dataset/tagger.tsv.gz on captions that NLTK's own tagger has tagged.

    python -m nltk.downloader averaged_perceptron_tagger_eng        # once, by hand: the teacher
    python evaluate/train_tagger.py --caption_paths captions_a.jsonl captions_b.jsonl --tagger_path new.tsv.gz

Nothing else needs this: the trained file is bundled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, MissingDependencyError
from common.progress import announce
from common.record_files import read_captions
from evaluate.metrics.chair_parser import ChairParser
from evaluate.metrics.tokens import words
from evaluate.tagger_training import train, variants, write_model


@dataclass
class TaggerArguments:
    """What to train on and where the model goes."""

    caption_paths: list[str] | None = flag(None, "caption files")  # noqa: RUF009 (flag makes a field)
    tagger_path: str | None = flag(None, "where the trained model goes (.tsv.gz)")
    copies: int = flag(8, "variants of each caption")
    rounds: int = flag(5, "rounds over all of them")
    seed: int = flag(0, "seed of variants and order")


def nltk_tags(tokens: Sequence[str]) -> list[str]:
    """Tags of NLTK's tagger. Raises MissingDependencyError where its data are not installed."""
    import nltk

    try:
        return [tag for _, tag in nltk.pos_tag(list(tokens))]
    except LookupError:
        raise MissingDependencyError(
            "NLTK's tagger is not installed; run: python -m nltk.downloader averaged_perceptron_tagger_eng"
        ) from None


def main() -> None:
    """Parse, tag, train, write. Raises UserError."""
    (args,) = parse((TaggerArguments,), "Train the tagger of CHAIR's word classes")
    if not args.caption_paths or args.tagger_path is None:
        raise ArgumentError("--caption_paths and --tagger_path are needed")
    tokens = [words(c.caption) for path in args.caption_paths for c in read_captions(path)]
    base = [(row, nltk_tags(row)) for row in tokens]
    matter = sorted(ChairParser("standard").class_dependent)
    sentences = base + variants(base, matter, nltk_tags, args.copies, args.seed)
    announce(f"training on {len(sentences)} texts, {args.rounds} rounds")
    weights, fixed = train(sentences, args.rounds, args.seed)
    write_model(Path(args.tagger_path), weights, fixed)


if __name__ == "__main__":
    run(main)
