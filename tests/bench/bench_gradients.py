"""How far the connector's gradient is from that of float32 rows: packs in bfloat16, and with 8-bit products.

    python -m tests.bench.bench_gradients --size mini     # the bundled model; on the CPU 8-bit products are emulated
    python -m tests.bench.bench_gradients --size 7b       # on a GPU with 80 GB: LLaVA-1.5's shape, random weights

The reference: every caption a row of its own in float32. Weights are rounded to bfloat16 before, and what the connector
is given is the same for all, so that only the decoder's rounding is compared. Random captions are of few words, as
texts are: with words drawn from the whole vocabulary the gradients of tokens cancel, and what is left is mostly
rounding.
`damped`: random weights whose layers add little to what they are given, as those of a trained decoder do (what writes
into the residuals is divided by the root of twice the number of layers). Writes tests/bench/records/gradients_SIZE.json
unless --record names another file.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from common.args import flag, parse
from common.cli import run
from common.files.storage import write_json
from common.manifest import git_commit, versions
from common.models import load_model
from common.models.base import CaptionModel, PackedSettings
from common.models.packed.layout import PackedImage, lay_out
from common.models.resolve import resolve_device
from common.models.text.ids import PromptIds
from common.models.weights.eight_bit import require_float8
from common.paths import ROOT, display
from common.progress import announce
from tests.bench.number_lists import whole_numbers

RECORDS = ROOT / "tests" / "bench" / "records"
WORDS = 100  # that captions are of


@dataclass
class GradientBenchArguments:
    """What to compare."""

    size: str = flag("mini", "mini: the bundled model; random ones: middle, 7b", ("mini", "middle", "7b"))
    images: int = flag(8, "of a pack, each with one caption", least=1)
    from_blocks: str = flag("0", "first blocks in 8 bits beside the default, separated by commas")
    packs: int = flag(3, "packs that are compared", least=1)
    seeds: str = flag(
        "0", "of random weights and packs, separated by commas; choices are made on others than are reported"
    )
    device: str = flag("auto", "cpu, cuda ...; auto takes a GPU where there is one")
    record: str | None = flag(None, "JSON file to write; default tests/bench/records/gradients_SIZE.json")


@dataclass(frozen=True)
class Gradient:
    """Losses of all target tokens, and the gradient of their mean as one vector."""

    losses: Tensor
    vector: Tensor

    def against(self, reference: Gradient) -> dict[str, float]:
        """Relative error and cosine of the gradient, and the mean distance of a token's loss."""
        off = self.vector - reference.vector
        return {
            "error": float(off.norm() / reference.vector.norm()),
            "cosine": float(cosine_similarity(self.vector, reference.vector, dim=0)),
            "loss": float((self.losses - reference.losses).abs().sum() / (reference.losses != 0).sum()),
        }


def sum_of(found: Sequence[Gradient]) -> Gradient:
    """The gradient of all packs together."""
    losses = torch.cat([one.losses.flatten() for one in found])
    return Gradient(losses, torch.stack([one.vector for one in found]).sum(0))


def gradient(model: CaptionModel, losses: Tensor) -> Gradient:
    """Of the connector, from losses [rows, longest target]."""
    model.zero_grad()
    (losses.sum() / (losses != 0).sum()).backward()
    parts = [p.grad.flatten() for p in model.connector.parameters() if p.grad is not None]
    return Gradient(losses.detach().float().cpu(), torch.cat(parts).double().cpu())


def random_pack(count: int, seed: int, vocabulary: int) -> list[PackedImage]:
    """Images with one caption of 40 to 90 tokens each, behind the same prompt."""
    draw = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, min(vocabulary, 3 + WORDS)) for _ in range(n))

    prompt = PromptIds((1, *ids(34)), ids(10))
    return [PackedImage(i, prompt, (ids(draw.randint(40, 90)),)) for i in range(count)]


@dataclass
class GradientBench:
    """Measures, prints and writes."""

    args: GradientBenchArguments

    def __post_init__(self) -> None:
        self.device = resolve_device(self.args.device)
        self.gpu = self.device.type == "cuda"
        if self.gpu:
            require_float8(self.device, torch.bfloat16)
        self.seeds = whole_numbers(self.args.seeds, "--seeds")
        self.first_blocks = whole_numbers(self.args.from_blocks, "--from_blocks")
        self.settings = PackedSettings(compile=self.gpu, fast_connector=True)
        self.path = Path(self.args.record) if self.args.record else RECORDS / f"gradients_{self.args.size}.json"
        self.rows: list[dict[str, Any]] = []

    def measure(self) -> None:
        """All weights that the size has, of each seed and in all number formats. The record is written after each."""
        for seed, weights, make in self.weights():
            reference = self.gradients(seed, lambda make=make: make().float(), self.in_rows)
            kinds = {
                "bfloat16 rows": (make, self.in_rows),
                "bfloat16": (make, self.in_packs),
                "fp8": (partial(self.eight_bits, make), self.in_packs),
                **{
                    f"fp8, from block {first}": (partial(self.eight_bits, make, first), self.in_packs)
                    for first in self.first_blocks
                },
            }
            for kind, (model, way) in kinds.items():
                found = self.gradients(seed, model, way)
                each = [one.against(other) for one, other in zip(found, reference, strict=True)]
                row = {key: mean(one[key] for one in each) for key in each[0]}
                together = sum_of(found).against(sum_of(reference))
                which = {"weights": weights, "seed": seed, "kind": kind}
                self.rows.append({**which, **row, "together": together, "each": each})
                announce(_line(self.rows[-1]))
            write_json(self.path, self.record())

    def weights(self) -> Iterator[tuple[int, str, Callable[[], CaptionModel]]]:
        """Seeds and names, and what makes the model in bfloat16."""
        from tests.bench.models.random_models import random_model

        for seed in self.seeds:
            if self.args.size == "mini":
                yield seed, "mini-llava", lambda: load_model("llava", device=self.device, dtype=torch.bfloat16)
                continue
            plain = partial(random_model, "llava", self.device, torch.bfloat16, self.args.size, seed)
            yield seed, "random", plain
            yield seed, "random, damped", lambda plain=plain: damped(plain())

    def eight_bits(self, make: Callable[[], CaptionModel], first: int | None = None) -> CaptionModel:
        """The same with 8-bit products from a block on; None: as by default."""
        model = make()
        model.to_eight_bits(self.device, first)
        return model

    def gradients(
        self,
        seed: int,
        make: Callable[[], CaptionModel],
        way: Callable[[CaptionModel, Tensor, list[PackedImage]], Tensor],
    ) -> list[Gradient]:
        """Of each pack. The model is gone afterwards."""
        model = make()
        model.set_packed(self.settings)
        model.set_trainable("connector")
        vocabulary = model.lm.get_input_embeddings().weight.shape[0]
        found = []
        for pack_seed in range(1000 * seed, 1000 * seed + self.args.packs):
            pack = random_pack(self.args.images, pack_seed, vocabulary)
            found.append(gradient(model, way(model, self.seen(model, pack_seed), pack)))
        del model
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()
        return found

    def seen(self, model: CaptionModel, seed: int) -> Tensor:
        """In place of the tower's output, of about its size: [images, patches, hidden size of the tower]."""
        config = model.vision.config
        patches = (config.image_size // config.patch_size) ** 2
        draw = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.args.images, patches, config.hidden_size, generator=draw)
        return drawn.bfloat16().to(self.device)

    def in_rows(self, model: CaptionModel, seen: Tensor, pack: list[PackedImage]) -> Tensor:
        """One row a caption."""
        prompts, targets = [image.prompt for image in pack], [image.branches[0] for image in pack]
        return model.target_losses(model.connect(seen), prompts, targets)

    def in_packs(self, model: CaptionModel, seen: Tensor, pack: list[PackedImage]) -> Tensor:
        """All captions in one pack of a static length."""
        tokens = lay_out(pack, seen.shape[1]).length
        layout = lay_out(pack, seen.shape[1], -(-tokens // 1024) * 1024).to(self.device)
        return model.packed_losses(model.connect(seen), layout)

    def record(self) -> dict[str, Any]:
        """What is written."""
        return {
            "card": torch.cuda.get_device_name(self.device) if self.gpu else "cpu, 8-bit products emulated",
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
            "size": self.args.size,
            "images": self.args.images,
            "rows": self.rows,
        }


def damped(model: CaptionModel) -> CaptionModel:
    """With less added to the residuals by each layer."""
    layers = model.lm.model.layers
    for layer in layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight.data /= (2 * len(layers)) ** 0.5
    return model


def _line(row: dict[str, Any]) -> str:
    numbers = [f"{one['error']:.4f} | {one['cosine']:.5f}" for one in (row, row["together"])]
    return f"| {row['weights']} | {row['seed']} | {row['kind']} | {' | '.join(numbers)} | {row['loss']:.4f} |"


def main() -> None:
    """Parse the command line and compare."""
    (args,) = parse([GradientBenchArguments], __doc__ or "")
    bench = GradientBench(args)
    bench.measure()
    print("| weights | seed | decoder | error, a pack | cosine | error, all packs | cosine | loss of a token |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(map(_line, bench.rows)))
    announce(f"written to {display(bench.path)}")


if __name__ == "__main__":
    run(main)
