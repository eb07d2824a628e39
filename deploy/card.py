"""The model card of a training run, with the scores of its result files: README.md beside the trained tensors.

    python deploy/card.py --ckpt_load_path checkpoints/llava-efuf --result_paths result_unlearned.json result_base.json

`finetune/train.py` writes a card when it ends; this writes it again when the run has been judged. Results of the base
(recognised by the hashes in their manifests) stand beside the run's own. A card that was edited by hand is kept.

Raises DataError for files that are no results, or of another checkpoint, and for a folder without a finished run.
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

from common.args import flag, parse
from common.cards.base import CARD_FILE
from common.cards.recipe import manifest_beside
from common.cards.run_card import write_run_card
from common.cli import run
from common.errors import ArgumentError, DataError
from common.paths import display
from common.progress import say

WEIGHTS = "trained.safetensors"


@dataclass
class CardArguments:
    """Of which run, with which scores."""

    ckpt_load_path: str | None = flag(None, "folder of a finished training run")
    result_paths: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "result files of it and of its base (--result_path of the evaluation scripts)"
    )
    dry_run: bool = flag(False, "read everything, and stop")


ARGUMENTS = (CardArguments,)


def main(argv: Sequence[str] | None = None) -> None:
    """Read, write, say where. Raises ArgumentError, DataError."""
    (args,) = parse(ARGUMENTS, __doc__ or "", argv, step="card")
    if not args.ckpt_load_path:
        raise ArgumentError("--ckpt_load_path is needed: the folder of a training run")
    folder = Path(args.ckpt_load_path)
    manifest = manifest_beside(folder, WEIGHTS) if folder.is_dir() else {}
    if not manifest:
        raise DataError(f"{display(folder)} holds no finished training run ({WEIGHTS} and its manifest)")
    if write_run_card(folder, manifest, args.result_paths, args.dry_run):
        say(display(folder / CARD_FILE))


if __name__ == "__main__":
    run(main)
