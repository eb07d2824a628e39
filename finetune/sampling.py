"""Which items make up a step, and the weight that each span gets from it.

The wanted loss is sum over kinds k of w_k * mean over the N_k samples of kind k of s_i L_i. Both ways of drawing a step
are unbiased for it (`finetune/README.md` derives this):

* `paper`: b_k samples of each kind, drawn apart: a span weighs s_i / b_k.
* `shared`: B whole images of M, with every caption known of them: a span of kind k weighs s_i M / (B N_k).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate

import torch

from common.errors import ArgumentError
from common.thresholds import Thresholds
from finetune.data import CaptionItem, Span, count_spans, map_spans, one_by_one, only_kinds
from finetune.presets import GOLD, KINDS, NEG, LossWeights


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

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Position of each unit's first item in `items`, and their number."""
        return (0, *accumulate(map(len, self.units)))

    def drawn(self, batch: int, seed: int) -> list[int]:
        """Positions of the items of one batch: a function of the batch's number and the seed alone."""
        first = batch * self.per_batch
        units = [self._at(place, seed) for place in range(first, first + self.per_batch)]
        return [position for unit in units for position in range(self.starts[unit], self.starts[unit + 1])]

    def _at(self, place: int, seed: int) -> int:
        return _permutation(len(self.units), seed, place // len(self.units))[place % len(self.units)]

    def mapped(self, change: Callable[[Span], Span]) -> Pool:
        """The same with every span replaced."""
        return replace(self, units=tuple(tuple(map_spans(unit, change)) for unit in self.units))


@lru_cache(maxsize=16)
def _permutation(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of one epoch of a pool."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(size, generator=generator).tolist())


@dataclass(frozen=True)
class TrainingSet:
    """All items of a run and how they are drawn. `batches` is the length of one epoch, possibly broken."""

    pools: tuple[Pool, ...]
    batches_per_epoch: float

    @property
    def items(self) -> list[CaptionItem]:
        """All items, pool after pool."""
        return [item for pool in self.pools for item in pool.items]

    def batches(self, epochs: float) -> int:
        """Batches in so many epochs, the last one filled up from the next."""
        return math.ceil(self.batches_per_epoch * epochs)

    def counts(self) -> Mapping[str, int]:
        """Number of spans of each kind."""
        return count_spans(self.items)


class BatchOrder:
    """A batch sampler over `TrainingSet.items`: the whole run as one sequence of batches, by number.

    Because the order is a function of the number, a run that is continued at batch n needs no state.
    """

    def __init__(self, data: TrainingSet, batches: int, seed: int) -> None:
        self.data, self.batches, self.seed = data, batches, seed
        self.batch_size = sum(pool.per_batch for pool in data.pools)
        self.drop_last = False

    @property
    def rows_per_batch(self) -> float:
        """Items in a batch, on average."""
        return sum(pool.per_batch * pool.starts[-1] / len(pool.units) for pool in self.data.pools)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batch(number) for number in range(self.batches))

    def batch(self, number: int) -> list[int]:
        """Positions of the items of one batch."""
        chosen, offset = [], 0
        for i, pool in enumerate(self.data.pools):
            chosen += [offset + place for place in pool.drawn(number, self.seed * 16 + i)]
            offset += pool.starts[-1]
        return chosen


def shared_set(
    captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], batch: int, gold_batch: int
) -> TrainingSet:
    """Whole images, `batch` of them a step. Raises ArgumentError for a batch below one."""
    _check_sizes({"--train_bs": batch})
    images = by_image(captions)
    shares = {kind: len(images) / (batch * number) for kind, number in count_spans(captions).items()}
    pool = Pool(images, batch).mapped(lambda span: replace(span, weight=shares[span.kind]))
    return TrainingSet((pool, *_gold_pool(gold, gold_batch)), len(images) / batch)


def by_image(captions: Iterable[CaptionItem]) -> tuple[tuple[CaptionItem, ...], ...]:
    """Items of one image together, images in order of first appearance."""
    groups: dict[str, list[CaptionItem]] = {}
    for item in captions:
        groups.setdefault(item.image, []).append(item)
    return tuple(map(tuple, groups.values()))


def paper_set(captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], sizes: Mapping[str, int]) -> TrainingSet:
    """Samples of each kind drawn apart, `sizes[kind]` of them a step; an epoch passes once over the negatives.

    Raises ArgumentError for a size below one.
    """
    counts = count_spans(captions)
    kinds = [kind for kind in KINDS if counts[kind]]
    _check_sizes({f"--train_bs_{kind}": sizes[kind] for kind in kinds})
    pools = []
    for kind in kinds:
        pools.append(_pool(one_by_one(only_kinds(captions, (kind,))), sizes[kind]))
    lead = NEG if counts[NEG] else max(kinds, key=lambda kind: counts[kind])
    return TrainingSet((*pools, *_gold_pool(gold, sizes[GOLD])), counts[lead] / sizes[lead])


def _gold_pool(gold: Sequence[CaptionItem], size: int) -> tuple[Pool, ...]:
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


def with_sample_weights(data: TrainingSet, weights: LossWeights, thresholds: Thresholds) -> TrainingSet:
    """Every span's weight times its sample weight (its score, where the preset says so)."""

    def scaled(span: Span) -> Span:
        return replace(span, weight=span.weight * weights.sample_weight(span.kind, span.score, thresholds))

    return replace(data, pools=tuple(pool.mapped(scaled) for pool in data.pools))
