"""One training step and one caption of each published model at full size with random weights: time and peak memory.

    python tests/bench/bench_models.py                     # on a GPU: all four at 7B, bfloat16
    python tests/bench/bench_models.py --scale tiny        # anywhere: tries the script itself

Prints the table for common/models/README.md and writes tests/bench/records/models_SCALE_CARD.json.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError
from common.paths import ROOT, display
from common.progress import announce

if TYPE_CHECKING:
    import torch

    from common.models.base import CaptionModel

RECORDS = ROOT / "tests" / "bench" / "records"
CAPTION = "In the image a brown dog lies on a red bench beside a bicycle , and a cat looks at it from a window . " * 3
COLUMNS = ("model", "parameters", "image_tokens", "step_s", "step_gib", "samples", "caption_s", "caption_gib", "tokens")


@dataclass
class BenchArguments:
    """What to measure."""

    models: str = flag("llava,share4v,owl,minigpt", "which, separated by commas")
    scale: str = flag("7b", "size of the models", ("7b", "tiny"))
    device: str = flag("auto", "cpu, cuda ...; auto takes a GPU where there is one")
    batch: int = flag(3, "samples of the training step: positive, negative and sentence, as published")
    new_tokens: int = flag(64, "tokens of the caption")
    record: str | None = flag(None, "JSON file to write; default tests/bench/records/models_SCALE_CARD.json")


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of the second of two runs (the first warms up), and peak GiB allocated (0 on the CPU)."""
    import torch

    work()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    work()
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    return seconds, torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else 0.0


def training_step(model: CaptionModel, images: list[Any]) -> Callable[[], None]:
    """A step of AdamW on the connector, as published: whole samples, masters in float32."""
    import torch

    chosen = model.set_trainable("connector")
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-5, weight_decay=0.05)
    texts = [model.format_prompt("Please describe the image.")] * len(images)

    def step() -> None:
        losses = model.sample_losses(images, texts, [CAPTION] * len(images), [True] * len(images))
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(name: str, args: BenchArguments, device: torch.device) -> dict[str, Any]:
    """One row: a training step of `batch` samples, then a greedy caption of one image."""
    import torch
    from PIL import Image

    from tests.bench.models.random_models import random_model

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = random_model(name, device, dtype, args.scale)
    model.stop_ids = frozenset({model.tokenizer.vocab_size - 1})  # random weights: let nothing end early by chance
    image = Image.new("RGB", (640, 480), (120, 90, 60))
    step_s, step_gib = timed(training_step(model, [image] * args.batch), device)
    text = model.format_prompt("Please describe the image.")
    lengths: list[int] = []

    def caption() -> None:
        lengths.append(len(model.generate_ids([image], [text], max_new_tokens=args.new_tokens)[0]))

    caption_s, caption_gib = timed(caption, device)
    with torch.no_grad():
        image_tokens = model.image_features(model.preprocess([image])).shape[1]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    values = (name, parameters, image_tokens, step_s, step_gib, args.batch, caption_s, caption_gib, lengths[-1])
    return dict(zip(COLUMNS, values, strict=True))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| model | parameters | image tokens | training step | peak | caption | peak |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['model']} | {row['parameters'] / 1e9:.2f} B | {row['image_tokens']} "
            f"| {row['step_s'] * 1e3:.0f} ms for {row['samples']} samples | {row['step_gib']:.1f} GiB "
            f"| {row['caption_s']:.2f} s for {row['tokens']} tokens | {row['caption_gib']:.1f} GiB |"
        )
    return "\n".join(lines)


def bench(args: BenchArguments) -> Path:
    """Measure every model, write the record, print the table. Raises ArgumentError for 7B without a GPU."""
    import torch

    from common.files.storage import write_json
    from common.manifest import git_commit, versions
    from common.models.resolve import resolve_device

    device = resolve_device(args.device)
    if args.scale == "7b" and device.type != "cuda":
        raise ArgumentError("full size needs a GPU (about 16 GiB to load, 35 to train); --scale tiny tries the script")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    rows = []
    for name in args.models.split(","):
        announce(f"{name} at {args.scale} on {card}: one training step, one caption")
        rows.append(measure(name, args, device))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    path = Path(args.record) if args.record else RECORDS / f"models_{args.scale}_{card.replace(' ', '-')}.json"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"card": card, "versions": versions(), "date": date, "commit": git_commit(), "rows": rows})
    print(table(rows))
    announce(f"written to {display(path)}")
    return path


def main() -> None:
    """Parse the command line and measure."""
    (args,) = parse([BenchArguments], __doc__ or "")
    bench(args)


if __name__ == "__main__":
    run(main)
