"""Two cards against one: scores and captions by the processes of a launch, into one file.

    python -m tests.bench.loop_shared --folder /tmp/shared --out one
    torchrun --standalone --nproc_per_node 2 -m tests.bench.loop_shared --folder /tmp/shared --out two

Prints a JSON line for each: images a second from the first image to the joined file, seconds of the joining (waiting
for the others included), and the SHA-256 of that file. `bench_two_cards` runs both and compares.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.args import flag, parse
from common.captioning.captioner import CaptionPlan, caption_images
from common.captioning.run import caption_target
from common.cli import run
from common.files.contents import file_hash
from common.files.images import ImageFolder
from common.files.record_files import caption_key, objects_from_json
from common.models.resolve import resolve_device
from common.outputs.lines import LineOutput, LineTarget
from common.processes import first_alone, first_is_done, this_process
from common.progress import say
from common.prompts import TRAIN
from common.relevance.scoring import RelevanceJob, ScoreSettings
from tests.bench.loop.captions import Lengths, ending_at
from tests.bench.loop.photos import real_captions, records, write_photos
from tests.bench.loop.scores import GROUP, random_scorer
from tests.bench.models.random_models import random_model


@dataclass
class SharedArguments:
    """What is shared."""

    folder: str = flag("/tmp/efuf-shared", "for photos and outputs")
    out: str = flag("one", "name of the outputs")
    scored: int = flag(3200, "images to score; 0: none")
    captioned: int = flag(256, "images to caption; 0: none")
    beams: int = flag(1, "of the captions")
    scale: str = flag("7b", "of the model", ("7b", "tiny"))
    captions_path: str | None = flag(None, "real captions, for their lengths; default: of the test data")


def timed(name: str, target: LineTarget, names: list[str], work: Callable[[list[str], LineOutput], None]) -> None:
    """Do the work twice, the first time an eighth of it to warm up, and say how fast the second was."""
    for turn in range(2):
        some = names[: len(names) if turn else max(1, len(names) // 8)]
        with target.open({"turn": turn}, restart=True) as out:
            begin = time.perf_counter()
            work(some, out)
            worked = time.perf_counter() - begin
            if out.gather():
                seconds = time.perf_counter() - begin
                out.finish({})
                row = {"what": name, "turn": turn, "processes": this_process().count, "images": len(some)}
                row |= {"seconds": round(seconds, 2), "joining": round(seconds - worked, 2)}
                row |= {"images_s": round(len(some) / seconds, 1), "sha256": file_hash([target.path])[:16]}
                say(json.dumps(row))


def score(args: SharedArguments, names: list[str], device: torch.device) -> None:
    """ViT-B-32 over all photos."""
    scorer = random_scorer("ViT-B-32", str(device), "bfloat16" if device.type == "cuda" else "float32")
    path = Path(args.folder) / f"{args.out}_scores.jsonl"
    target = LineTarget(path, "folder", "tests.bench", objects_from_json, caption_key)
    job = RelevanceJob(scorer, ImageFolder(Path(args.folder) / "photos"), ScoreSettings(), GROUP, str(device))
    timed("scores", target, names[: args.scored], lambda some, out: job.run(records(some), out))


def caption(args: SharedArguments, names: list[str], device: torch.device) -> None:
    """Captions of all photos, at lengths drawn from real ones."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = random_model("llava", device, dtype, args.scale)
    model.stop_ids = frozenset()
    most = 200 if args.scale == "7b" else 12
    lengths = Lengths.of(real_captions(500, Path(args.captions_path) if args.captions_path else None), most)
    decoding = {"num_beams": args.beams, "max_new_tokens": most, "length_penalty": 0.0}
    plan = CaptionPlan(TRAIN, decoding, None)
    target = caption_target(Path(args.folder) / f"{args.out}_captions.jsonl", "folder", "tests.bench")
    images = ImageFolder(Path(args.folder) / "photos")
    with ending_at(lengths):
        timed(
            "captions",
            target,
            names[: args.captioned],
            lambda some, out: caption_images(model, images, some, plan, out),
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the photos, then score and caption them."""
    (args,) = parse((SharedArguments,), "Two cards against one", argv)
    if first_alone("photos"):
        write_photos(Path(args.folder) / "photos", max(args.scored, args.captioned))
        first_is_done("photos")
    names = [f"{i:012d}.jpg" for i in range(1, max(args.scored, args.captioned) + 1)]
    device = resolve_device("auto")
    with torch.no_grad():
        if args.scored:
            score(args, names, device)
        if args.captioned:
            caption(args, names, device)


if __name__ == "__main__":
    run(main)
