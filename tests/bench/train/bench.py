"""The training benchmark's parts, in order, and its record, which is written after each of them."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from common.errors import ArgumentError
from common.files.storage import write_json
from common.manifest import git_commit, versions
from common.models import load_model
from common.models.base import CaptionModel, PackedSettings
from common.models.resolve import resolve_device
from common.models.weights.eight_bit import require_float8
from common.paths import display
from common.progress import announce
from finetune.steps.batch import StepBatch
from tests.bench.train.batches import BenchData
from tests.bench.train.items import SHAPES, CaptionShape, captions_of, write_images
from tests.bench.train.kernels import kernel_table
from tests.bench.train.steps import (
    EngineStep,
    Timing,
    ceiling,
    model_tflop,
    published_step,
    stored,
    sustained,
    synchronise,
    timed,
)
from tests.bench.train.table import table

if TYPE_CHECKING:
    from tests.bench.bench_train import TrainBenchArguments

FED_STEPS = 12
# Each is the engine without one of its savings; without compilation a pack of full size does not fit into 80 GB.
ABLATIONS: dict[str, dict[str, bool]] = {
    "last layer in full": {"prune": False},
    "connector in float32": {"fast_connector": False},
    "layers not compiled": {"compile": False},
}


@dataclass
class TrainBench:
    """Measures, prints and writes.

    Args:
        path: of the record.
    """

    args: TrainBenchArguments
    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = resolve_device(self.args.device)
        self.gpu = self.device.type == "cuda"
        if self.args.size == "7b" and not self.gpu:
            raise ArgumentError("--size 7b needs a GPU with 40 GiB; --size mini runs anywhere")
        self.shape = SHAPES[self.args.size]
        self.captions: list[CaptionShape] = captions_of(*map(Path, self.args.stats)) if self.args.stats else []
        self.card = torch.cuda.get_device_name(self.device) if self.gpu else "cpu"
        self.settings = PackedSettings(compile=self.gpu, fast_connector=True, attention=self.args.attention)

    def measure(self) -> None:
        """All parts. One that fails is reported, and the others are measured all the same.

        Raises ArgumentError, before anything is measured, for 8-bit products on a GPU that has none.
        """
        if self.args.decoder_dtype == "fp8" and self.device.type == "cuda":
            require_float8(self.device, torch.bfloat16)
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder))
            self.model = self.new_model()
            most = self.args.tokens_per_batch or self.shape.pack
            images = None if self.args.images == "auto" else int(self.args.images)
            self.data = BenchData(self.model, Path(folder), self.shape, self.captions, most, images)
            self.part("ceiling", self.measure_ceiling)
            for attention in ("eager", "sdpa"):
                self.part(f"published shape, {attention}", lambda a=attention: self.measure_published(a))
            counts = [int(count) for count in self.args.captions_per_image.split(",")]
            for count in counts:
                self.part(f"{count} captions an image", lambda c=count: self.measure_engine(c))
            self.part("fed from files", lambda: self.measure_feeding(counts[0]))
            self.part("mask", self.measure_mask)
            if self.args.ablate:
                for name, change in ABLATIONS.items():
                    self.part(name, lambda n=name, c=change: self.measure_ablation(n, c))
            if self.args.memory:
                self.part("memory", lambda: self.measure_memory("one image at a time"))
            if self.args.decoder_dtype == "fp8":
                self.measure_fp8(counts)
            if self.args.load_in_4bit:
                self.part("memory in 4 bits", self.measure_memory_in_4bit)
        print(table(self.rows, self.ratios))
        announce(f"written to {display(self.path)}")

    def part(self, name: str, work: Callable[[], None]) -> bool:
        """Run one part, free what it took, write the record; says whether it went well."""
        start, failed = time.perf_counter(), len(self.failed)
        try:
            work()
        except Exception:
            self.failed.append(name)
            traceback.print_exc()
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()
        announce(f"{name}: {time.perf_counter() - start:.0f} s")
        self.write()
        return len(self.failed) == failed

    def write(self) -> None:
        """The record so far. The commit comes from EFUF_COMMIT where there is no git."""
        record = {
            "card": self.card,
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
            "size": self.args.size,
            "rows": self.rows,
            "ratios": self.ratios,
            "failed": self.failed,
        }
        write_json(self.path, record)

    # Parts

    def measure_ceiling(self) -> None:
        """TFLOP/s of a square matrix product in the dtype of the model: a short burst, then without a pause."""
        side, dtype = 8192 if self.gpu else 1024, self.model.compute_dtype
        burst = ceiling(self.device, side, dtype)
        self.rows.append({"what": "matrix product", "tflops": burst, "ceiling_share": 1.0})
        found = sustained(self.device, side, dtype, 3.0 if self.gpu else 0.2)
        self.rows.append({"what": "matrix product, sustained", "tflops": found, "ceiling_share": found / burst})

    def measure_published(self, attention: str) -> None:
        """Three rows; the connector in bfloat16 on a GPU, as published."""
        self.model.set_packed(PackedSettings(fast_connector=True))
        self.model.lm.set_attn_implementation(attention)
        step = published_step(self.model, self.shape, self.data.pixels(3))
        self.add(f"published shape, {attention}", timed(step, self.device, self.args.steps), 3 * self.shape.row, 3)

    def measure_engine(self, count: int, kind: str = "") -> None:
        """One pack. `kind`: of the decoder's products, in names."""
        what = f"engine, {count} captions an image" + kind.replace("_", ", ")
        row = self.engine_row(what, count, self.settings, profile=self.args.profile)
        published = self.found("published shape, eager")
        self.ratios[f"captions_per_image_{count}{kind}"] = row["samples_per_s"] / published["samples_per_s"]
        if count == 1:  # the published set: 1.5 spans and a sentence a caption
            self.ratios[f"minutes_30k_spans{kind}"] = 30_000 / 1.5 * 2.5 / row["samples_per_s"] / 60
        if kind:  # the ceiling is that of bfloat16
            return
        self.ratios[f"ceiling_share_{count}"] = row["ceiling_share"]
        self.ratios[f"sustained_share_{count}"] = row["sustained_share"]
        for share in ("ceiling_share", "sustained_share"):
            self.ratios[share] = max(value for key, value in self.ratios.items() if key.startswith(f"{share}_"))

    def measure_fp8(self, counts: Sequence[int]) -> None:
        """The engine with 8-bit products, which stay from here on: as by default, then in all blocks.

        On the CPU they are emulated.
        """
        self.ratios["weights_gib"] = stored(self.model) / 2**30
        for kind, first in (("_fp8", None), ("_fp8 in all blocks", 0)):
            self.model.to_eight_bits(self.device, first)
            self.ratios[f"weights_gib{kind}"] = stored(self.model) / 2**30
            for count in counts:
                what = f"{count} captions an image{kind.replace('_', ', ')}"
                self.part(what, lambda c=count, k=kind: self.measure_engine(c, k))
        if self.args.memory:
            self.part("memory, fp8", lambda: self.measure_memory("one image, fp8 in all blocks"))

    def measure_ablation(self, name: str, change: dict[str, bool]) -> None:
        """One caption an image without one of the savings."""
        if getattr(self.settings, next(iter(change))) != next(iter(change.values())):
            images = (
                self.data.images(1) if self.settings.compile and "compile" not in change else self.data.images(1) // 2
            )
            self.engine_row(f"1 caption, {name}", 1, replace(self.settings, **change), images)

    def measure_memory(self, what: str) -> None:
        """One image with one caption, all layers computed twice."""
        settings = replace(self.settings, recompute=1)
        row = self.engine_row(f"{what}, computed twice", 1, settings, images=1)
        self.ratios[f"{what}_gib"] = row["peak_gib"]

    def measure_memory_in_4bit(self) -> None:
        """The same with 4-bit weights. Last, as the model is another one then."""
        self.model.quantise(self.device)
        self.measure_memory("one image in 4 bits")

    def measure_feeding(self, count: int) -> None:
        """Share of the time that the loop waits for batches that workers open from JPEG files."""
        self.model.set_packed(self.settings)
        loader = iter(self.data.loader(count, FED_STEPS + 4))
        waited = [0.0]

        def counted() -> Iterator[StepBatch]:
            while True:
                start = time.perf_counter()
                batch = next(loader)
                waited[0] += time.perf_counter() - start
                yield batch

        step = EngineStep(self.model, counted())
        for _ in range(3):
            step()
        synchronise(self.device)
        waited[0], start = 0.0, time.perf_counter()
        for _ in range(FED_STEPS):
            step()
        synchronise(self.device)
        total = time.perf_counter() - start
        self.ratios["waiting_share"] = waited[0] / total
        self.ratios["fed_over_prepared"] = total / FED_STEPS / self.found(f"engine, {count} captions")["seconds"]

    def measure_mask(self) -> None:
        """Milliseconds of what is made once for all layers: masks, rotations."""
        count = int(self.args.captions_per_image.split(",")[0])
        pack = self.data.prepared(count, self.data.images(count))[0].packs[0].to(self.device)
        decoder = self.model.packed_decoder()
        embeds = self.model.lm.get_input_embeddings()(pack.layout.ids.clamp_min(0))
        timing = timed(lambda: decoder.views(embeds, pack.layout), self.device, 20)
        self.ratios["mask_ms"] = timing.seconds * 1e3

    # What they share

    def engine_row(
        self, what: str, count: int, settings: PackedSettings, images: int | None = None, profile: bool = False
    ) -> dict[str, Any]:
        """Measure the engine and add its row, with the kernels of a step where `profile` says so."""
        self.model.set_packed(settings)
        prepared = self.data.prepared(count, images or self.data.images(count))
        step = EngineStep(self.model, cycle(prepared))
        timing = timed(step, self.device, self.args.steps)
        tokens = sum(pack.tokens for batch in prepared for pack in batch.packs) / len(prepared)
        samples = sum(len(item.spans) for batch in prepared for item in batch.items) / len(prepared)
        row = self.add(what, timing, round(tokens), samples)
        if profile:
            row["kernels"] = kernel_table(step)
        return row

    def add(self, what: str, timing: Timing, tokens: int, samples: float) -> dict[str, Any]:
        """A row from a step's time, tokens and samples."""
        tflops = model_tflop(self.model, tokens) / timing.seconds
        row = {
            "what": what,
            "tokens": tokens,
            "samples": samples,
            "seconds": timing.seconds,
            "samples_per_s": samples / timing.seconds,
            "tflops": tflops,
            "ceiling_share": tflops / self.found("matrix product")["tflops"],
            "sustained_share": tflops / self.found("matrix product, sustained")["tflops"],
            "peak_gib": timing.peak,
            "warm_up_s": timing.warm_up,
        }
        self.rows.append(row)
        return row

    def found(self, start: str) -> dict[str, Any]:
        """The first row whose name starts so."""
        return next(row for row in self.rows if row["what"].startswith(start))

    def new_model(self) -> CaptionModel:
        """The bundled model, or one of LLaVA-1.5's shape with random weights."""
        if self.args.size == "mini":
            return load_model("llava", device=self.device)
        from tests.bench.models.random_models import random_model

        return random_model("llava", self.device, torch.bfloat16, "7b")
