"""Captions of evaluation images: the first ones, by name, that training did not use.

    python evaluate/eval_caption.py                                  # the built-in mini world, base model
    python evaluate/eval_caption.py --llava_ckpt_load_path checkpoints/llava-efuf --caption_eval_path after.jsonl
    python evaluate/eval_caption.py --llava_path llava-1.5-7b-hf --image_dir_path train2014 \\
        --pos_neg_data_path pos_neg.json --caption_eval_path before.jsonl

Resumable: a killed run started again ends with the same file, byte for byte. Raises ArgumentError for flags that do
not fit together, DataError for folders and images, CheckpointError for weights.
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

from common.args import GenerationArguments, ModelArguments, RunArguments, flag, parse
from common.captioning.captioner import CaptionPlan, deterministic_decoding
from common.captioning.run import CaptionRun, checked_target
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.places import PUBLISHED
from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.storage import read_record, read_text, require_file
from common.mini_world import MiniWorld, is_mini_model, source_of
from common.paths import display
from common.progress import announce
from common.prompts import CAPTION_EVAL
from evaluate.results.run_files import run_file

SPLIT = "split.json"  # of a training run


@dataclass(frozen=True)
class Split:
    """The images of a training run."""

    train: list[str]
    valid: list[str]
    seed: int = 0


@dataclass
class EvalCaptionArguments:
    """Captioning of evaluation images."""

    image_dir_path: str | None = flag(None, "folder of the images; default: the mini world's evaluation images")
    caption_eval_path: str | None = flag(None, "where the captions go (JSON Lines)")
    default_eval_samples: int = flag(1600, "at most so many images, in the order of their names", least=1)
    run_name: str | None = flag(None, "names the captions file where --caption_eval_path does not, in results/")
    pos_neg_data_path: str | None = flag(None, "spans of the training; their images are left out")
    sentence_data_path: str | None = flag(None, "sentences of the training; their images are left out")


def captions_place(args: EvalCaptionArguments, model: ModelArguments, of_world: bool) -> Path | str:
    """Where the captions go. Raises ArgumentError if neither a flag nor the mini world says it."""
    if args.caption_eval_path or args.run_name:
        return args.caption_eval_path or run_file("captions", args.run_name, model, ".jsonl")
    if not of_world:
        raise ArgumentError(
            "--caption_eval_path is needed: where the captions go (or --run_name, for results/captions)"
        )
    return MiniWorld().eval_captions


def training_images(args: EvalCaptionArguments, model: ModelArguments, mini: bool) -> set[str]:
    """File names of the images that training used, from everything that is known of it; says where they are from.

    The files that were given and the split beside the checkpoint, all together; without either, the published list
    (dataset/objects.txt), else the published spans. The mini world has evaluation images of its own.
    """
    sources = given_sources(args) | split_of(model.chosen("ckpt_load_path"))
    if not sources and not mini:
        sources = published_sources()
    for where, names in sources.items():
        announce(f"{len(names)} images of training are left out, by {display(where)}")
    if not sources and not mini:
        announce(
            "nothing here says which images training used, so they cannot be left out: give --pos_neg_data_path if "
            "some of these were among them"
        )
    return set().union(*sources.values())


def given_sources(args: EvalCaptionArguments) -> dict[Path, set[str]]:
    """Images by file, of the training files that were given."""
    found: dict[Path, set[str]] = {}
    if args.pos_neg_data_path:
        path = require_file(args.pos_neg_data_path, "--pos_neg_data_path")
        found[path] = {Path(s.image).name for s in read_span_samples(path)}
    if args.sentence_data_path:
        path = require_file(args.sentence_data_path, "--sentence_data_path")
        found[path] = {Path(s.image).name for s in read_sentence_samples(path)}
    return found


def split_of(checkpoint: str | None) -> dict[Path, set[str]]:
    """Images of training and validation, as the run of a checkpoint noted them; nothing for one without a split.

    Raises DataError for a malformed split.
    """
    if not checkpoint:
        return {}
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    # A checkpoint-NNNNNN of a run lies below the run's folder, where the split is.
    path = next((p for p in (folder / SPLIT, folder.parent / SPLIT) if p.is_file()), None)
    if path is None:
        return {}
    split = read_record(path, Split)
    return {path: {Path(name).name for name in (*split.train, *split.valid)}}


def published_sources() -> dict[Path, set[str]]:
    """Images of the published set, where it lies in its place: of objects.txt, else of the spans."""
    objects = PUBLISHED["object_data_path"][0]
    if objects.is_file():
        lines = read_text(objects).splitlines()
        return {objects: {Path(line.split(" ### ")[0].strip()).name for line in lines if line.strip()}}
    spans = PUBLISHED["pos_neg_data_path"][0]
    return {spans: {Path(s.image).name for s in read_span_samples(spans)}} if spans.is_file() else {}


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
    model, args, generation, run_args = parse(ARGUMENTS, __doc__ or "", argv, step="caption_eval")
    plan = CaptionPlan(CAPTION_EVAL, deterministic_decoding(generation), generation.infer_bs, 1, run_args.seed)
    mini, world = is_mini_model(model), MiniWorld()
    of_world = mini and args.image_dir_path is None
    path = captions_place(args, model, of_world)
    source = source_of(args.image_dir_path, mini, world.eval_images, "--image_dir_path")
    target = checked_target(Path(path), "caption_eval_path", "evaluate.eval_caption", (model, args), source.path)
    used = training_images(args, model, of_world)
    job = CaptionRun(model, run_args, plan, source.made(run_args.dry_run), target, "--image_dir_path")
    names = first_unused(job.names(), used, args.default_eval_samples)
    job.run(names, [args, generation], images_of_training_left_out=len(used))


if __name__ == "__main__":
    run(main)
