"""Captions of evaluation images: the first ones, by name, that training did not use.

    python evaluate/eval_caption.py                                  # the built-in mini world, base model
    python evaluate/eval_caption.py --llava_ckpt_load_path checkpoints/llava-efuf --caption_eval_path after.jsonl
    python evaluate/eval_caption.py --llava_path llava-1.5-7b-hf --image_dir_path train2014 \\
        --pos_neg_data_path pos_neg.json --caption_eval_path before.jsonl

Resumable: a killed run started again ends with the same file, byte for byte. Raises ArgumentError for flags that do
not fit together, DataError for folders and images, CheckpointError for weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import GenerationArguments, ModelArguments, RunArguments, flag, parse
from common.captioning.captioner import CaptionPlan, deterministic_decoding
from common.captioning.run import CaptionRun, caption_target
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.storage import require_file
from common.mini_world import MiniWorld, default_path, is_mini_model
from common.prompts import CAPTION_EVAL


@dataclass
class EvalCaptionArguments:
    """Captioning of evaluation images."""

    image_dir_path: str | None = flag(None, "folder of the images; default: the mini world's evaluation images")
    caption_eval_path: str | None = flag(None, "where the captions go (JSON Lines)")
    default_eval_samples: int = flag(1600, "at most so many images, in the order of their names")
    pos_neg_data_path: str | None = flag(None, "spans of the training; their images are left out")
    sentence_data_path: str | None = flag(None, "sentences of the training; their images are left out")


def training_images(args: EvalCaptionArguments) -> set[str]:
    """File names of the images that training used, as far as its files are given."""
    used: set[str] = set()
    if args.pos_neg_data_path:
        spans = read_span_samples(require_file(args.pos_neg_data_path, "--pos_neg_data_path"))
        used.update(Path(s.image).name for s in spans)
    if args.sentence_data_path:
        sentences = read_sentence_samples(require_file(args.sentence_data_path, "--sentence_data_path"))
        used.update(Path(s.image).name for s in sentences)
    return used


def first_unused(names: Iterable[str], used: set[str], wanted: int) -> list[str]:
    """The first `wanted` names, in order, that are not in `used`. Raises DataError if none is left."""
    if wanted < 1:
        raise ArgumentError(f"--default_eval_samples is {wanted}; give a number from 1")
    names = list(names)
    kept = [name for name in names if name not in used]
    if not kept:
        raise DataError(f"training used all {len(names)} images; give evaluation images with --image_dir_path")
    return kept[:wanted]


ARGUMENTS = (ModelArguments, EvalCaptionArguments, GenerationArguments, RunArguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, run. Raises UserErrors for everything that the user can mend."""
    model, args, generation, run_args = parse(ARGUMENTS, "Captions of evaluation images", argv, step="caption_eval")
    plan = CaptionPlan(CAPTION_EVAL, deterministic_decoding(generation), generation.infer_bs, 1, run_args.seed)
    mini, world = is_mini_model(model), MiniWorld()
    path = args.caption_eval_path or (str(world.eval_captions) if mini and args.image_dir_path is None else None)
    if path is None:
        raise ArgumentError("--caption_eval_path is needed: where the captions go")
    used = training_images(args)
    folder = default_path(args.image_dir_path, mini, world.eval_images, "--image_dir_path")
    target = caption_target(Path(path), "caption_eval_path", "evaluate.eval_caption")
    job = CaptionRun(model, run_args, plan, folder, target, "--image_dir_path")
    names = first_unused(job.names(), used, args.default_eval_samples)
    job.run(names, [args, generation], images_of_training_left_out=len(used))


if __name__ == "__main__":
    run(main)
