"""The steps that the training benchmark measures: as published, and of the engine. Always whole optimizer steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from common.files.images import ImageFolder
from common.models.base import CaptionModel
from finetune.corpus.records import NEG, POS, SENT, CaptionItem
from finetune.objectives.loss import objective
from finetune.steps.batch import StepBatch
from finetune.steps.collate import Collator
from finetune.steps.packs import PackPlan
from finetune.steps.span_losses import SpanLosses
from tests.bench.train.items import Shape

WEIGHTS = {POS: 1.0, NEG: 0.3, SENT: 0.2}


@dataclass(frozen=True)
class Timing:
    """Median seconds of a step, seconds of the warm-up (compilation included), and peak GiB (0 on the CPU)."""

    seconds: float
    warm_up: float
    peak: float


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Callable[[], Any], device: torch.device, steps: int, warm_up: int = 2) -> Timing:
    """Run and time steps one by one. The peak is that of the timed ones."""
    start = time.perf_counter()
    for _ in range(warm_up):
        step()
    synchronise(device)
    warm = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return Timing(statistics.median(seconds), warm, peak)


def ceiling(device: torch.device, side: int, dtype: torch.dtype) -> float:
    """TFLOP/s of a square matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b, device, 20, 5).seconds / 1e12


def sustained(device: torch.device, side: int, dtype: torch.dtype, seconds: float) -> float:
    """The same without a pause for so long: a card's clock falls as it warms."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    synchronise(device)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(100 if device.type == "cuda" else 1):  # the device never runs dry while it is waited for
            a @ b
        done += 100 if device.type == "cuda" else 1
        synchronise(device)
    return 2 * side**3 * done / (time.perf_counter() - start) / 1e12


@dataclass
class Updater:
    """AdamW on the connector's float32 masters."""

    model: CaptionModel
    parameters: list[nn.Parameter] = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = list(self.model.set_trainable("connector").values())
        fused = self.model.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, weight_decay=0.05, fused=fused)

    def update(self) -> None:
        """Clip, step, forget the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def published_step(model: CaptionModel, shape: Shape, pixels: Tensor) -> Callable[[], None]:
    """Three samples, each a row of its own, padded on the right; float32 logits of all positions."""
    updater, device = Updater(model), model.device
    draw = torch.Generator().manual_seed(0)
    vocabulary = model.lm.get_input_embeddings().weight.shape[0]
    with torch.no_grad():
        image_tokens = model.image_features(pixels[:1]).shape[1]
    ids = torch.randint(3, vocabulary, (3, shape.row - image_tokens), generator=draw).to(device)
    mask, labels = torch.ones(3, shape.row, dtype=torch.long), torch.full((3, shape.row), -100)
    for row, padding in enumerate((0, shape.row // 96, shape.row // 48)):
        end = shape.row - padding
        mask[row, end:] = 0
        labels[row, image_tokens + shape.before + shape.after : end] = 5
    mask, labels = mask.to(device), labels.to(device)

    def step() -> None:
        words = model.lm.get_input_embeddings()(ids)
        features = model.image_features(pixels)
        embeds = torch.cat([words[:, : shape.before], features, words[:, shape.before :]], dim=1)
        logits = model.lm(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits.float()
        cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).backward()
        updater.update()

    return step


@dataclass
class EngineStep:
    """A step of the engine: its packs, already laid out in page-locked memory, through the module that is trained.

    Args:
        batches: laid-out batches, used in turn.
    """

    model: CaptionModel
    batches: Iterator[StepBatch]
    updater: Updater = field(init=False)
    module: SpanLosses = field(init=False)

    def __post_init__(self) -> None:
        self.updater = Updater(self.model)
        self.module = SpanLosses(self.model, objective("efuf", 0.1))

    def __call__(self) -> None:
        """The next batch."""
        for pack in next(self.batches).packs:
            self.module(pack).total(WEIGHTS).backward()
        self.updater.update()


def collator(model: CaptionModel, folder: Path, items: Iterable[CaptionItem], image_tokens: int) -> Collator:
    """A collator whose packs hold just these items, at a length that is a multiple of a block."""
    plan = PackPlan(image_tokens, shares=True)
    tokens = plan.tokens(plan.units(items))
    return Collator(model, ImageFolder(folder), PackPlan(image_tokens, True, -(-tokens // 128) * 128, static=True))


def parameters_of(module: nn.Module) -> int:
    """Entries of all matrices, 4-bit ones included."""
    return sum(
        one.in_features * one.out_features  # type: ignore[operator]
        for one in module.modules()
        if hasattr(one, "in_features") and hasattr(one, "out_features")
    )


def model_tflop(model: CaptionModel, tokens: int) -> float:
    """4 P T of a frozen decoder: P its linear layers and the head, T tokens; forward, and gradient to activations."""
    return 4 * parameters_of(model.lm) * tokens / 1e12


def stored(module: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(one.numel() * one.element_size() for one in (*module.parameters(), *module.buffers()))
