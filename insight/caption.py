"""Captions of the training images by the model itself: what it says unprompted is what will be mined and unlearned.

    python insight/caption.py                                       # the built-in mini world
    python insight/caption.py --model llava --llava_path llava-1.5-7b-hf --image_dir_path train2014 \\
        --caption_data_path captions.jsonl --captions_per_image 5 --temperature 0.8

One caption an image is made by beam search, several by sampling. Resumable: a killed run started again ends with the
same file, byte for byte. Raises ArgumentError for flags that do not fit together, DataError for folders and images,
CheckpointError for weights.
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
from typing import Any

from common.args import GenerationArguments, ModelArguments, RunArguments, flag, parse
from common.captioning.captioner import CaptionPlan, deterministic_decoding
from common.captioning.run import CaptionRun, checked_target
from common.cli import run
from common.errors import ArgumentError
from common.mini_world import MiniWorld, is_mini_model, source_of
from common.progress import announce
from common.prompts import TRAIN


@dataclass
class CaptionArguments:
    """Captioning of training images."""

    image_dir_path: str | None = flag(None, "folder of the images; default: the mini world's training images")
    caption_data_path: str | None = flag(None, "where the captions go (JSON Lines)")
    captions_per_image: int = flag(1, "captions of each image; more than one are sampled")
    do_sample: bool = flag(False, "draw the tokens at random, also for one caption an image")
    temperature: float = flag(1.0, "of the sampling")
    top_p: float = flag(1.0, "sample from the most likely tokens that make up this probability")


def sampling(args: CaptionArguments, generation: GenerationArguments) -> dict[str, Any]:
    """Generate settings: beam search for one caption an image, sampling without beams for several.

    Raises ArgumentError for a temperature or a top_p outside their range.
    """
    decoding = deterministic_decoding(generation)
    if args.captions_per_image <= 1 and not args.do_sample:
        return decoding
    if args.temperature <= 0:
        raise ArgumentError(f"--temperature is {args.temperature:g}; give a number above 0")
    if not 0 < args.top_p <= 1:
        raise ArgumentError(f"--top_p is {args.top_p:g}; give a number above 0 and at most 1")
    if generation.generate_num_beams > 1:
        announce(f"sampled captions are drawn without beams; --generate_num_beams {decoding['num_beams']} is not used")
    return {**decoding, "num_beams": 1, "do_sample": True, "temperature": args.temperature, "top_p": args.top_p}


ARGUMENTS = (ModelArguments, CaptionArguments, GenerationArguments, RunArguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, run. Raises UserErrors for everything that the user can mend."""
    model, args, generation, run_args = parse(ARGUMENTS, __doc__ or "", argv, step="caption")
    plan = CaptionPlan(TRAIN, sampling(args, generation), generation.infer_bs, args.captions_per_image, run_args.seed)
    mini, world = is_mini_model(model), MiniWorld()
    # Only with everything left at the mini world's may its caption file be the target.
    path = args.caption_data_path or (str(world.captions) if mini and args.image_dir_path is None else None)
    if path is None:
        raise ArgumentError("--caption_data_path is needed: where the captions go")
    source = source_of(args.image_dir_path, mini, world.train_images, "--image_dir_path")
    target = checked_target(Path(path), "caption_data_path", "insight.caption", (model, args), source.path)
    job = CaptionRun(model, run_args, plan, source.made(run_args.dry_run), target, "--image_dir_path")
    job.run(job.names(), [args, generation])


if __name__ == "__main__":
    run(main)
