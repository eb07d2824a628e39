"""Training and captions of `--model auto`, against one row a sample of plain transformers, in one run on one card.

    python -m tests.bench.bench_auto --size mini                  # anywhere: tries the script
    python -m tests.bench.bench_auto --size full                  # on a GPU: Qwen2.5-VL-7B's and Qwen3-VL-8B's shapes

Random weights, bfloat16, images of 640 x 480, captions of 75 tokens, 2.5 samples (spans and the whole) a caption. A
step is whole: tower, connector, decoder, losses, backward pass, AdamW on the connector. Each row is written to
tests/bench/records/auto_SIZE.json as soon as it is measured, and one that fails costs no other; families that are not
measured keep their rows of the same commit and card. What was expected is in tests/bench/NOTES.md.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import torch

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.images import ImageFolder
from common.files.storage import read_json, write_json
from common.manifest import git_commit, versions
from common.models.base import PackedSettings
from common.models.families.auto import Auto
from common.models.generation.decoding import Decoding
from common.models.generation.plain import by_transformers
from common.models.packed.foreign.layers import attending
from common.models.resolve import resolve_device
from common.paths import ROOT
from finetune.corpus.records import CaptionItem
from finetune.features.tower_cache import TowerCache
from finetune.steps.batch import StepBatch
from finetune.steps.collate import Collator
from finetune.steps.packs import PackPlan
from tests.bench.models.auto_models import AFTER, BEFORE, SIZES, random_auto
from tests.bench.train.items import IMAGES, Shape, batches, write_images
from tests.bench.train.kernels import kernel_table
from tests.bench.train.steps import EngineStep, Timing, Updater, ceiling, timed

CAPTION = 75
TOKENS = {"full": 8192, "mini": 1024}  # of a pack
ROWS = 4  # of a plain step
NEW_TOKENS = 64
TOGETHER, MANY = 16, 128  # captions


@dataclass
class AutoBenchArguments:
    """What to measure."""

    size: str = flag("mini", "mini or full", ("mini", "full"))
    families: str = flag("qwen2_5_vl,qwen3_vl", "which, separated by commas")
    parts: str = flag(
        "training,tower,captions,memory",
        "which, separated by commas; also kept (training without whole towers), kernels, static",
    )
    tokens_per_batch: int | None = flag(None, "of a pack; default 8192, for the mini models 1024")
    compile: bool = flag(True, "compile the layers of packs, on a GPU")
    steps: int = flag(4, "timed steps of each row; the median is taken")
    load_in_4bit: bool = flag(False, "also measure memory with 4-bit weights; needs bitsandbytes")
    device: str = flag("auto", "cpu, cuda ...; auto takes a GPU where there is one")
    record: str | None = flag(None, "JSON file to write; default tests/bench/records/auto_SIZE.json")


@dataclass
class AutoBench:
    """Measures one family after the other; the record is written after each part."""

    args: AutoBenchArguments
    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = resolve_device(self.args.device)
        self.gpu = self.device.type == "cuda"
        most = self.args.tokens_per_batch or TOKENS[self.args.size]
        self.shape = Shape(BEFORE, AFTER, CAPTION, 0, most)

    def measure(self, family: str) -> None:
        """All parts of a family."""
        dtype = torch.bfloat16 if self.gpu else torch.float32
        self.model: Auto = random_auto(family, self.args.size, self.device, dtype)
        self.images = ImageFolder(self.folder)
        self.prompt = self.model.encode_prompt(self.model.format_prompt(""))
        self.image_tokens = self.model.tokens_of((640, 480), self.prompt)
        for name, work in self.parts():
            self.part(family, name, work)
        del self.model
        self.forget()

    def parts(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """All that is asked for, with names."""
        asked = self.args.parts.split(",")
        if "training" in asked:
            yield "plain rows", self.plain
            for count, kept in product((5, 1), (True, False)):
                yield self.packed_name(count, kept), partial(self.packed, count, kept)
        if "kept" in asked:  # without those of whole towers
            yield "plain rows", self.plain
            for count in (5, 1):
                yield self.packed_name(count, True), partial(self.packed, count, True)
        if "kernels" in asked:
            yield "kernels", self.kernels
        if "tower" in asked:
            yield "tower", self.tower
        if "captions" in asked:
            yield f"captions, {TOGETHER} together", partial(self.captions, TOGETHER)
            if self.gpu:
                yield f"captions, {MANY} together", partial(self.captions, MANY)
            yield f"captions by generate, {TOGETHER} together", partial(self.generated, False)
        if "static" in asked:
            yield f"captions by generate with a static cache, {TOGETHER} together", partial(self.generated, True)
        if "memory" in asked:
            yield "one image", self.one_image
            if self.args.load_in_4bit:
                yield "one image in 4 bits", self.one_image_in_4bit

    def packed_name(self, count: int, kept: bool) -> str:
        """Of a row."""
        return f"{count} captions an image" + (", tower kept" if kept else "")

    def part(self, family: str, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run one part, note what it gives, write the record."""
        start = time.perf_counter()
        try:
            self.rows.append({"family": family, "name": name, **work()})
            print(self.rows[-1], flush=True)
        except Exception:
            traceback.print_exc()
            self.failed.append(f"{family}: {name}")
        self.forget()
        self.note_ratios(family)
        self.write()
        print(f"{family}, {name}: {time.perf_counter() - start:.0f} s", flush=True)

    def forget(self) -> None:
        """Free what nothing holds."""
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()

    def row(self, timing: Timing, samples: float, tokens: int) -> dict[str, Any]:
        """Of a step."""
        return {
            "ms": round(timing.seconds * 1e3, 1),
            "samples_s": round(samples / timing.seconds, 2),
            "tokens": tokens,
            "peak_gib": round(timing.peak, 2),
            "warm_up_s": round(timing.warm_up, 1),
        }

    def plain(self) -> dict[str, Any]:
        """Rows of one sample each through the model's own forward and loss, with its own attention everywhere."""
        with attending(self.model.lm, "sdpa"):
            return self.plain_rows()

    def plain_rows(self) -> dict[str, Any]:
        """The same, with whatever attention is chosen."""
        updater = Updater(self.model)
        pictures = self.images.open_all([f"{i}.jpg" for i in range(ROWS)])
        made = {k: v.to(self.device) for k, v in self.model.made_inputs(pictures, [self.prompt] * ROWS).items()}
        length = made["input_ids"].shape[1]
        tail = torch.randint(100, 300, (ROWS, CAPTION), device=self.device)
        for key, fill in (("input_ids", tail), ("attention_mask", torch.ones_like(tail))):
            made[key] = torch.cat([made[key], fill], 1)
        made["mm_token_type_ids"] = torch.cat([made["mm_token_type_ids"], torch.zeros_like(tail).int()], 1)
        labels = made["input_ids"].clone()
        labels[:, :length] = -100

        def step() -> None:
            self.model.lm(**made, labels=labels, use_cache=False).loss.backward()
            updater.update()

        return self.row(timed(step, self.device, self.args.steps), ROWS, made["input_ids"].numel())

    def items(self, images: int, count: int) -> Iterator[list[CaptionItem]]:
        """Batches of so many images."""
        for made in batches(self.shape, [], images, count, 300):
            yield [replace(item, prompt=self.prompt) for item in made]

    def prepared(self, count: int, images: int, length: int | None, cache: TowerCache | None) -> list[StepBatch]:
        """Two batches made beforehand, each of one pack."""
        found = []
        for items in islice(self.items(images, count), 2):
            plan = PackPlan(self.image_tokens, True)
            budget = length or -(-plan.tokens(plan.units(items)) // 128) * 128
            collator = Collator(self.model, self.images, PackPlan(self.image_tokens, True, budget, static=True), cache)
            batch = collator(items)
            found.append(batch.pin_memory() if self.gpu else batch)
        return found

    def packed(self, count: int, kept: bool) -> dict[str, Any]:
        """A step of packs that are as full as they can be."""
        images, made = self.full(count, kept)
        step = EngineStep(self.model, cycle(made))
        samples = sum(len(item.spans) for batch in made for item in batch.items) / len(made)
        tokens = sum(pack.layout.tree.tokens for batch in made for pack in batch.packs) // len(made)
        timing = timed(step, self.device, self.args.steps)
        handed = timed(partial(self.handed, made[0]), self.device, 2, 1)
        own = {"images": images, "packs": len(made[0].packs), "handed_ms": round(handed.seconds * 1e3, 1)}
        return {**own, **self.row(timing, samples, tokens)}

    def full(self, count: int, kept: bool) -> tuple[int, list[StepBatch]]:
        """Images of a pack, and such packs."""
        if not (self.model.sees_apart if kept else self.model.packs):
            raise DataError("it cannot be packed, or its tower not be left out; the reason is above")
        self.model.set_packed(PackedSettings(compile=self.args.compile and self.gpu, fast_connector=True))
        cache = TowerCache(self.model, self.images, 1 << 36) if kept else None
        own = self.image_tokens + AFTER + 1 + count * CAPTION
        images = (self.shape.pack - BEFORE - 128) // own
        return images, self.prepared(count, images, self.shape.pack, cache)

    def kernels(self) -> dict[str, Any]:
        """What a step of 5 captions an image runs on the card, towers kept."""
        _, made = self.full(5, True)
        return {"kernels": kernel_table(EngineStep(self.model, cycle(made)))}

    def handed(self, batch: StepBatch) -> None:
        """What comes before the decoder in a step of packs, without gradients."""
        with torch.no_grad():
            for pack in batch.packs:
                pack = pack.to(self.device)
                self.model.foreign.given(pack.layout, *self.model.handing(pack.pixels))

    def tower(self) -> dict[str, Any]:
        """What is kept of the tower, for an image after the other; the processor's work is in it."""
        pictures = self.images.open_all([f"{i}.jpg" for i in range(TOGETHER)])
        timing = timed(partial(self.model.keep, pictures), self.device, 2, 1)
        return {"ms": round(timing.seconds * 1e3 / TOGETHER, 2), "images_s": round(TOGETHER / timing.seconds, 1)}

    def captions(self, count: int) -> dict[str, Any]:
        """Greedy captions by whatever answers for this model."""
        pictures, texts = self.asked(count)

        def ask() -> float:
            start = time.perf_counter()
            self.model.generate_ids(pictures, texts, max_new_tokens=self.new_tokens)
            return time.perf_counter() - start

        return self.said(ask, count)

    def generated(self, static: bool) -> dict[str, Any]:
        """Greedy captions by transformers' generate."""
        pictures, texts = self.asked(TOGETHER)
        prompts = [self.model.encode_prompt(text) for text in texts]
        inputs = self.model.made_inputs(pictures, prompts)

        def ask() -> float:
            start = time.perf_counter()
            moved = {key: value.to(self.device) for key, value in inputs.items()}
            decoding = Decoding(max_new_tokens=self.new_tokens)
            by_transformers(self.model.lm, moved, decoding, [], [""] * TOGETHER, 0, static)
            return time.perf_counter() - start

        with attending(self.model.lm, "sdpa"), torch.no_grad():
            return self.said(ask, TOGETHER)

    @property
    def new_tokens(self) -> int:
        """Of a caption."""
        return NEW_TOKENS if self.gpu else 4

    def asked(self, count: int) -> tuple[list[Any], list[str]]:
        """Pictures, the files over and over, and prompts."""
        pictures = self.images.open_all([f"{i % IMAGES}.jpg" for i in range(count)])
        return pictures, [self.prompt.text] * count  # type: ignore[attr-defined]

    def said(self, ask: Callable[[], float], count: int) -> dict[str, Any]:
        """Of two calls, the first of which compiles and records."""
        self.model.stop_ids = frozenset()  # random weights would end where they like
        warm_up = ask()
        rate = round(count / ask(), 2)
        return {"captions_s": rate, "warm_up_s": round(warm_up, 1), "new_tokens": self.new_tokens}

    def one_image(self) -> dict[str, Any]:
        """Memory of a step of one image with one caption, layers computed twice."""
        self.model.set_packed(PackedSettings(recompute=1, fast_connector=True))
        step = EngineStep(self.model, cycle(self.prepared(1, 1, None, None)))
        return self.row(timed(step, self.device, 2, 1), 2.5, 0)

    def one_image_in_4bit(self) -> dict[str, Any]:
        """The same with 4-bit layers."""
        self.model.quantise(self.device)
        self.forget()
        return self.one_image()

    def note_ratios(self, family: str) -> None:
        """Samples a second against plain rows."""
        rates = {
            row["name"]: row["samples_s"] for row in self.rows if row.get("family") == family and "samples_s" in row
        }
        if "plain rows" in rates:
            for name, rate in rates.items():
                self.ratios[f"{family}, {name}"] = round(rate / rates["plain rows"], 2)

    def write(self) -> None:
        """The record as it is now."""
        path = Path(self.args.record or ROOT / "tests" / "bench" / "records" / f"auto_{self.args.size}.json")
        record = {
            "card": torch.cuda.get_device_name(self.device) if self.gpu else "cpu",
            "versions": versions(),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
        }
        kept = self.of_other_families(path, record)
        write_json(path, {**record, "rows": kept["rows"] + self.rows, "ratios": kept["ratios"] | self.ratios})

    def of_other_families(self, path: Path, record: dict[str, Any]) -> dict[str, Any]:
        """Rows and ratios that a run with the same code on the same card left for families that this one leaves out."""
        before = read_json(path) if path.exists() else {}
        if not isinstance(before, dict) or any(before.get(key) != value for key, value in record.items()):
            return {"rows": [], "ratios": {}}
        own = self.args.families.split(",")
        rows = [row for row in before["rows"] if row.get("family") not in (None, *own)]
        return {
            "rows": rows,
            "ratios": {name: ratio for name, ratio in before["ratios"].items() if name.split(",")[0] not in own},
        }


def main() -> None:
    """Parse the command line and measure. Raises DataError if a part could not be measured."""
    (args,) = parse([AutoBenchArguments], __doc__ or "")
    for family in args.families.split(","):
        if family not in SIZES:
            raise DataError(f"--families {family}: known are {', '.join(SIZES)}")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        bench = AutoBench(args, Path(folder))
        if bench.gpu:
            bench.rows.append({"name": "ceiling", "tflop_s": round(ceiling(bench.device, 8192, torch.bfloat16), 1)})
        for family in args.families.split(","):
            try:
                bench.measure(family)
            except Exception:
                traceback.print_exc()
                bench.failed.append(family)
    if bench.failed:
        raise DataError(f"not measured: {'; '.join(bench.failed)}; the reasons are above")


if __name__ == "__main__":
    run(main)
