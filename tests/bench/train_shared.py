"""Two cards against one: optimizer steps of one global batch, its packs shared by the processes of a launch.

    python -m tests.bench.train_shared
    torchrun --standalone --nproc_per_node 2 -m tests.bench.train_shared

Prints a JSON line: samples a second of whole steps (tower, connector, decoder, backward pass, mean of the gradients
over the processes, AdamW on the connector), and their losses, which do not depend on the number of processes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError
from common.models import load_model
from common.models.base import CaptionModel, PackedSettings
from common.models.resolve import resolve_device
from common.processes import this_process
from common.progress import say
from finetune.objectives.loss import PartLosses, objective
from finetune.run.packed_step import PackedStep
from finetune.steps.batch import Pack, StepBatch
from finetune.steps.span_losses import SpanLosses
from finetune.train import leave_launch
from tests.bench.models.random_models import random_model
from tests.bench.train.batches import BenchData
from tests.bench.train.items import SHAPES, write_images
from tests.bench.train.steps import WEIGHTS, Updater, collator, synchronise

PACKS = 4  # of a step, by all processes


@dataclass
class TrainSharedArguments:
    """What is shared."""

    size: str = flag("7b", "mini: the bundled model; 7b: LLaVA-1.5's shape", ("mini", "7b"))
    steps: int = flag(6, "timed steps, after two that are not")
    captions_per_image: int = flag(1, "captions of each image")


@dataclass
class SharedSteps:
    """Steps of this process: its packs of the batch, then what all have made of theirs."""

    model: CaptionModel
    batches: Sequence[StepBatch]

    def __post_init__(self) -> None:
        me = this_process()
        self.processes = me.count
        self.updater = Updater(self.model)
        module = SpanLosses(self.model, objective("efuf", 0.1))
        self.module = module
        ours = list(self.batches)[me.rank :: me.count]
        self.batch = StepBatch(tuple(pack for batch in ours for pack in batch.packs))
        # What would cut packs anew is not used: what does not fit ends the run.
        self.packed = PackedStep(
            module, collator(self.model, Path(), self.batch.items, 1), lambda loss: loss.backward()
        )

    def __call__(self) -> Tensor:
        """One step; the loss over the packs of this process, as its share of the mean over all."""
        result = self.packed.add(self.batch, self._loss)
        self.packed.average(self.processes)
        self.updater.update()
        return result.loss / self.processes

    def _loss(self, pack: Pack) -> tuple[Tensor, PartLosses]:
        parts = self.module(pack)
        return parts.total(WEIGHTS) * self.processes / PACKS, parts


def measure(args: TrainSharedArguments, device: torch.device, folder: Path) -> dict[str, object]:
    """Samples a second, and the losses."""
    gpu = device.type == "cuda"
    model = random_model("llava", device) if args.size == "7b" else load_model("llava", device=str(device))
    model.set_packed(PackedSettings(compile=gpu, fast_connector=gpu))
    shape = SHAPES[args.size]
    data = BenchData(model, folder, shape, [], shape.pack, None)
    count = args.captions_per_image
    batches = data.prepared(count, data.images(count))
    steps = SharedSteps(model, batches)
    losses = [steps() for _ in range(2)]
    synchronise(device)
    begin = time.perf_counter()
    losses += [steps() for _ in range(args.steps)]
    synchronise(device)
    seconds = (time.perf_counter() - begin) / args.steps
    table = torch.stack(losses)
    if steps.processes > 1:
        distributed.all_reduce(table)
    samples = sum(len(item.spans) for batch in batches for item in batch.items)
    return {
        "what": "training",
        "processes": steps.processes,
        "captions_per_image": count,
        "packs": PACKS,
        "samples": samples,
        "ms": round(seconds * 1e3, 1),
        "samples_s": round(samples / seconds, 1),
        "losses": [round(value, 5) for value in table.tolist()],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print. Raises ArgumentError for more processes than packs."""
    (args,) = parse((TrainSharedArguments,), "Training on two cards against one", argv)
    me = this_process()
    if PACKS % me.count:
        raise ArgumentError(f"{me.count} processes cannot share {PACKS} packs evenly")
    device = resolve_device("auto")
    if device.type == "cuda":
        device = torch.device("cuda", me.local_rank)
        torch.cuda.set_device(device)
    if me.count > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        say(json.dumps(measure(args, device, Path(folder))))
    leave_launch()


if __name__ == "__main__":
    run(main)
