"""A training step of mini-llava through `auto` and through the `llava` adapter, one after the other, on the CPU.

    python -m tests.bench.bench_mini_auto --steps 9

The bundled model, and the same exported and loaded by transformers; 16 images with two captions each, the connector
trained, whole steps on one thread, in turns. Processor seconds are printed, for other work may share the machine, with
the losses of the first step.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from common.args import ModelArguments, flag, parse
from common.cli import run
from common.files.images import ImageFolder
from common.models import load_model
from common.paths import MINI_LLAVA
from deploy.export import ExportArguments, export
from finetune.features.tower_cache import TowerCache
from finetune.steps.collate import Collator
from finetune.steps.packs import PackPlan
from tests.bench.train.items import SHAPES, batches, write_images
from tests.bench.train.steps import WEIGHTS, EngineStep

IMAGES, CAPTIONS = 16, 2
VOCABULARY = 300  # ids of captions


@dataclass
class MiniAutoArguments:
    """How often."""

    steps: int = flag(9, "timed steps of each way")


def step_of(model: Any, folder: Path, kept: bool, placeholder: int) -> tuple[EngineStep, float]:
    """A step over one batch again and again, and its loss before the first update."""
    images, prompt = ImageFolder(folder), model.encode_prompt(model.format_prompt(""))
    tokens = (
        model.tokens_of((640, 480), prompt)
        if not model.even_images
        else model.image_features(model.preprocess(images.open_all(["0.jpg"]))).shape[1]
    )
    (made,) = islice(batches(SHAPES["mini"], [], IMAGES, CAPTIONS, VOCABULARY), 1)
    items = [replace(item, prompt=prompt, ids=tuple(i - (i == placeholder) for i in item.ids)) for item in made]
    plan = PackPlan(tokens, True)
    cache = TowerCache(model, images, 1 << 30) if kept else None
    batch = Collator(model, images, replace(plan, budget=plan.tokens(plan.units(items))), cache)(items)
    step = EngineStep(model, cycle([batch]))
    with torch.no_grad():
        loss = sum(float(step.module(pack).total(WEIGHTS)) for pack in batch.packs)
    return step, loss


def seconds(step: Callable[[], None]) -> float:
    """Of a processor."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    (args,) = parse([MiniAutoArguments], __doc__ or "")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "images").mkdir()
        write_images(folder / "images")
        export(ModelArguments(model="llava", device="cpu"), ExportArguments(export_path=str(folder / "exported")))
        for kept in (True, False):
            auto: Any = load_model("auto", folder / "exported")
            models = {"auto": auto, "llava": load_model("llava", MINI_LLAVA)}
            made = {name: step_of(model, folder / "images", kept, auto.placeholder) for name, model in models.items()}
            taken: dict[str, list[float]] = {name: [] for name in made}
            for _ in range(args.steps + 1):
                for name, (step, _) in made.items():
                    taken[name].append(seconds(step))
            losses = {name: loss for name, (_, loss) in made.items()}
            report("tower kept" if kept else "tower in the step", taken, losses)


def report(what: str, taken: dict[str, list[float]], losses: dict[str, float]) -> None:
    """Median and least of each, without the first."""
    timed = {name: seconds[1:] for name, seconds in taken.items()}
    for name, some in timed.items():
        print(f"{what}, {name}: {statistics.median(some):.3f} s, least {min(some):.3f}, loss {losses[name]:.6f}")
    median, least = (choose(timed["llava"]) / choose(timed["auto"]) for choose in (statistics.median, min))
    print(f"{what}: auto has {median:.2f}x the speed of llava by medians, {least:.2f}x by the least")


if __name__ == "__main__":
    run(main)
