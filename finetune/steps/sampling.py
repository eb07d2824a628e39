"""Which items make up a step, and the weight that each span gets from it.

The wanted loss is sum over kinds k of w_k * mean over the N_k samples of kind k of s_i L_i. All ways of drawing a step
are unbiased for it (`finetune/README.md` derives this):

* `paper`: b_k samples of each kind, drawn apart: a span weighs s_i / b_k.
* `shared`: B whole images of M, with every caption known of them: a span of kind k weighs s_i M / (B N_k).
* `shared` by tokens (`token_steps.py`): a step is a pack of the P of an epoch: a span weighs s_i P / N_k.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch

from common.errors import ArgumentError
from common.thresholds import Thresholds
from finetune.corpus.records import GOLD, KINDS, NEG, CaptionItem, Span, count_spans, map_spans, one_by_one, only_kinds
from finetune.objectives.presets import LossWeights
from finetune.steps.packs import merged


@dataclass(frozen=True)
class Pool:
    """Units that are drawn without repetition until all were seen, then anew; `per_batch` of them a step.

    A unit is what is drawn whole: one sample, or all captions of an image.
    """

    units: tuple[tuple[CaptionItem, ...], ...]
    per_batch: int

    @property
    def items(self) -> list[CaptionItem]:
        """The items of all units, unit after unit."""
        return [item for unit in self.units for item in unit]

    def drawn(self, batch: int, seed: int) -> list[CaptionItem]:
        """The items of one batch: a function of the batch's number and the seed alone."""
        first = batch * self.per_batch
        return [item for place in range(first, first + self.per_batch) for item in self._at(place, seed)]

    def _at(self, place: int, seed: int) -> tuple[CaptionItem, ...]:
        return self.units[permutation(len(self.units), seed, place // len(self.units))[place % len(self.units)]]

    def mapped(self, change: Callable[[Span], Span]) -> Pool:
        """The same with every span replaced."""
        return replace(self, units=tuple(tuple(map_spans(unit, change)) for unit in self.units))


@lru_cache(maxsize=16)
def permutation(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of one epoch of a pool."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(size, generator=generator).tolist())


def pool_seed(seed: int, number: int) -> int:
    """The seed of a pool, by its number: pools are shuffled apart."""
    return seed * 16 + number


class StepSource(Protocol):
    """All items of a run, and which of them make up a batch."""

    @property
    def items(self) -> list[CaptionItem]:
        """All items, each once."""

    def batches(self, epochs: float, seed: int) -> int:
        """Batches in so many epochs."""

    def drawn(self, number: int, seed: int) -> list[CaptionItem]:
        """The items of one batch, their spans weighed: a function of its number and the seed alone."""

    def mapped(self, change: Callable[[Span], Span]) -> StepSource:
        """The same with every span replaced."""


@dataclass(frozen=True)
class TrainingSet:
    """Items in pools, a fixed number of units of each a step. `batches_per_epoch` is possibly broken."""

    pools: tuple[Pool, ...]
    batches_per_epoch: float

    @property
    def items(self) -> list[CaptionItem]:
        """All items, pool after pool."""
        return [item for pool in self.pools for item in pool.items]

    def batches(self, epochs: float, seed: int = 0) -> int:  # noqa: ARG002
        """Batches in so many epochs, the last one filled up from the next."""
        return math.ceil(self.batches_per_epoch * epochs)

    def drawn(self, number: int, seed: int) -> list[CaptionItem]:
        """Items of one batch; samples of one caption that meet in it share its branch."""
        return merged(item for i, pool in enumerate(self.pools) for item in pool.drawn(number, pool_seed(seed, i)))

    def mapped(self, change: Callable[[Span], Span]) -> TrainingSet:
        """The same with every span replaced."""
        return replace(self, pools=tuple(pool.mapped(change) for pool in self.pools))


@dataclass(frozen=True)
class Steps:
    """The whole run as a data set whose entries are batches, by number.

    Because a batch is a function of its number, a run that is continued at batch n needs no state.
    """

    source: StepSource
    batches: int
    seed: int

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> list[CaptionItem]:
        if not 0 <= number < self.batches:
            raise IndexError(f"batch {number} of {self.batches}")
        return self.source.drawn(number, self.seed)


def shared_set(
    captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], batch: int, gold_batch: int
) -> TrainingSet:
    """Whole images, `batch` of them a step. Raises ArgumentError for a batch below one."""
    _check_sizes({"--train_bs": batch})
    images = by_image(captions)
    shares = {kind: len(images) / (batch * number) for kind, number in count_spans(captions).items()}
    pool = Pool(images, batch).mapped(lambda span: replace(span, weight=shares[span.kind]))
    return TrainingSet((pool, *gold_pool(gold, gold_batch)), len(images) / batch)


def by_image(captions: Iterable[CaptionItem]) -> tuple[tuple[CaptionItem, ...], ...]:
    """Items of one image together, over as few branches as hold them; images in order of first appearance."""
    groups: dict[str, list[CaptionItem]] = {}
    for item in merged(captions):
        groups.setdefault(item.image, []).append(item)
    return tuple(map(tuple, groups.values()))


def paper_set(captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], sizes: Mapping[str, int]) -> TrainingSet:
    """Samples of each kind drawn apart, `sizes[kind]` of them a step; an epoch passes once over the negatives.

    Raises ArgumentError for a size below one.
    """
    counts = count_spans(captions)
    kinds = [kind for kind in KINDS if counts[kind]]
    _check_sizes({f"--train_bs_{kind}": sizes[kind] for kind in kinds})
    pools = [_pool(one_by_one(only_kinds(captions, (kind,))), sizes[kind]) for kind in kinds]
    lead = NEG if counts[NEG] else max(kinds, key=lambda kind: counts[kind])
    return TrainingSet((*pools, *gold_pool(gold, sizes[GOLD])), counts[lead] / sizes[lead])


def gold_pool(gold: Sequence[CaptionItem], size: int) -> tuple[Pool, ...]:
    """The pool of instruction data, if there is any. Raises ArgumentError for a size below one."""
    if not gold:
        return ()
    _check_sizes({"--train_bs_gold": size})
    return (_pool(gold, size),)


def _pool(items: Iterable[CaptionItem], size: int) -> Pool:
    """Items drawn one by one, each weighing its share of a step."""
    return Pool(tuple((item,) for item in items), size).mapped(lambda span: replace(span, weight=1 / size))


def _check_sizes(sizes: Mapping[str, int]) -> None:
    for flag, size in sizes.items():
        if size < 1:
            raise ArgumentError(f"{flag} is {size}; give a number from 1")


def with_sample_weights(data: StepSource, weights: LossWeights, thresholds: Thresholds) -> StepSource:
    """Every span's weight times its sample weight (its score, where the preset says so)."""
    return data.mapped(
        lambda span: replace(span, weight=span.weight * weights.sample_weight(span.kind, span.score, thresholds))
    )


# What the loss of a kind is the mean of: its samples, each the mean of its tokens (as published), or all its tokens.
# With the mean over samples a token of a short target weighs more than one of a long target, so wherever the model has
# to choose between a short and a long way to go on, the short one is learnt faster and captions become shorter.


def mean_lengths(items: Iterable[CaptionItem]) -> dict[str, float]:
    """Mean number of tokens in the spans of each kind."""
    tokens: Counter[str] = Counter()
    spans: Counter[str] = Counter()
    for item in items:
        for span in item.spans:
            tokens[span.kind] += span.end - span.start
            spans[span.kind] += 1
    return {kind: tokens[kind] / number for kind, number in spans.items()}


def averaged_over_tokens(data: StepSource) -> StepSource:
    """Every span's weight times its length over the mean length of its kind: the sum of a kind's weights stays."""
    lengths = mean_lengths(data.items)

    def longer_weighs_more(span: Span) -> Span:
        return replace(span, weight=span.weight * (span.end - span.start) / lengths[span.kind])

    return data.mapped(longer_weighs_more)
