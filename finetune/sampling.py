"""Which items make up a step, and the weight that each span gets from it.

The wanted loss is sum over kinds k of w_k * mean over the N_k samples of kind k of s_i L_i. Both ways of drawing a step
are unbiased for it (`finetune/README.md` derives this):

* `paper`: b_k samples of each kind, drawn apart: a span weighs s_i / b_k.
* `shared`: B whole captions of C: a span of kind k weighs s_i C / (B N_k).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from common.errors import ArgumentError
from common.thresholds import Thresholds
from finetune.data import CaptionItem, Span, count_spans, map_spans, one_by_one, only_kinds
from finetune.presets import GOLD, KINDS, NEG, LossWeights


@dataclass(frozen=True)
class Pool:
    """Items that are drawn without repetition until all were seen, then anew; `per_batch` of them a step."""

    items: tuple[CaptionItem, ...]
    per_batch: int

    def drawn(self, batch: int, seed: int) -> list[int]:
        """Positions of the items of one batch: a function of the batch's number and the seed alone."""
        first = batch * self.per_batch
        return [self._at(place, seed) for place in range(first, first + self.per_batch)]

    def _at(self, place: int, seed: int) -> int:
        return _permutation(len(self.items), seed, place // len(self.items))[place % len(self.items)]


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

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batch(number) for number in range(self.batches))

    def batch(self, number: int) -> list[int]:
        """Positions of the items of one batch."""
        chosen, offset = [], 0
        for i, pool in enumerate(self.data.pools):
            chosen += [offset + place for place in pool.drawn(number, self.seed * 16 + i)]
            offset += len(pool.items)
        return chosen


def shared_set(
    captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], batch: int, gold_batch: int
) -> TrainingSet:
    """Whole captions, `batch` of them a step. Raises ArgumentError for a batch below one."""
    _check_sizes({"--train_bs": batch})
    counts = count_spans(captions)
    shares = {kind: len(captions) / (batch * number) for kind, number in counts.items()}
    pools = [Pool(tuple(map_spans(captions, lambda s: replace(s, weight=shares[s.kind]))), batch)]
    return TrainingSet((*pools, *_gold_pool(gold, gold_batch)), len(captions) / batch)


def paper_set(captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], sizes: Mapping[str, int]) -> TrainingSet:
    """Samples of each kind drawn apart, `sizes[kind]` of them a step; an epoch passes once over the negatives.

    Raises ArgumentError for a size below one.
    """
    counts = count_spans(captions)
    kinds = [kind for kind in KINDS if counts[kind]]
    _check_sizes({f"--train_bs_{kind}": sizes[kind] for kind in kinds})
    pools = []
    for kind in kinds:
        items = one_by_one(only_kinds(captions, (kind,)))
        pools.append(Pool(tuple(_weighted(items, 1 / sizes[kind])), sizes[kind]))
    lead = NEG if counts[NEG] else max(kinds, key=lambda kind: counts[kind])
    return TrainingSet((*pools, *_gold_pool(gold, sizes[GOLD])), counts[lead] / sizes[lead])


def _gold_pool(gold: Sequence[CaptionItem], size: int) -> tuple[Pool, ...]:
    if not gold:
        return ()
    _check_sizes({"--train_bs_gold": size})
    return (Pool(tuple(_weighted(gold, 1 / size)), size),)


def _weighted(items: Sequence[CaptionItem], share: float) -> list[CaptionItem]:
    return map_spans(items, lambda span: replace(span, weight=share))


def _check_sizes(sizes: Mapping[str, int]) -> None:
    for flag, size in sizes.items():
        if size < 1:
            raise ArgumentError(f"{flag} is {size}; give a number from 1")


def with_sample_weights(data: TrainingSet, weights: LossWeights, thresholds: Thresholds) -> TrainingSet:
    """Every span's weight times its sample weight (its score, where the preset says so)."""

    def scaled(span: Span) -> Span:
        return replace(span, weight=span.weight * weights.sample_weight(span.kind, span.score, thresholds))

    return replace(data, pools=tuple(replace(p, items=tuple(map_spans(p.items, scaled))) for p in data.pools))
