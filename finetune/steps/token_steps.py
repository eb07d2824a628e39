"""Steps by tokens: one is a pack of as many images as fit into `--tokens_per_batch`, in the order of the epoch.

The number P of packs can differ between epochs, so spans carry s_i / N_k and get the factor P of their epoch when they
are drawn: the mean over an epoch's steps is then the wanted loss exactly, since every span is in one pack of the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count

from finetune.corpus.records import CaptionItem, Span, count_spans, map_spans
from finetune.steps.packs import PackPlan, Unit, merged
from finetune.steps.sampling import Pool, gold_pool, permutation, pool_seed


@dataclass(frozen=True)
class TokenSet:
    """Images in packs.

    Args:
        captions: items whose spans weigh their share of an epoch.
        gold: the pool of instruction data, drawn for each step beside its pack; or none.
        plan: the budget, less what the instruction data of a step may take.
    """

    captions: tuple[CaptionItem, ...]
    gold: tuple[Pool, ...]
    plan: PackPlan
    packings: dict[tuple[int, int], list[list[int]]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def units(self) -> list[Unit]:
        """What is drawn whole: an image with its captions; one above the budget in parts."""
        return self.plan.units(self.captions)

    @property
    def items(self) -> list[CaptionItem]:
        """All items, instruction data last."""
        return [*self.captions, *(item for pool in self.gold for item in pool.items)]

    def packs(self, seed: int, epoch: int) -> list[list[int]]:
        """Units of each pack of an epoch: a function of seed and epoch alone, kept."""
        if (seed, epoch) not in self.packings:
            order = permutation(len(self.units), pool_seed(seed, 0), epoch)
            packs = self.plan.fill([self.units[place] for place in order])
            self.packings[seed, epoch] = [[order[place] for place in pack] for pack in packs]
        return self.packings[seed, epoch]

    def batches(self, epochs: float, seed: int) -> int:
        """Batches in so many epochs."""
        whole = int(epochs)
        full = sum(len(self.packs(seed, epoch)) for epoch in range(whole))
        broken = (epochs - whole) * len(self.packs(seed, whole)) if epochs > whole else 0
        return full + math.ceil(broken)

    def drawn(self, number: int, seed: int) -> list[CaptionItem]:
        """Items of one batch: a pack, and instruction data."""
        pack, packs = self._locate(number, seed)
        chosen = [item for place in pack for item in self.units[place].items]
        scaled = map_spans(chosen, lambda span: replace(span, weight=span.weight * packs))
        return scaled + [item for i, pool in enumerate(self.gold, 1) for item in pool.drawn(number, pool_seed(seed, i))]

    def _locate(self, number: int, seed: int) -> tuple[list[int], int]:
        """The pack of that number, and how many its epoch has."""
        for epoch in count():
            packs = self.packs(seed, epoch)
            if number < len(packs):
                return packs[number], len(packs)
            number -= len(packs)
        raise AssertionError("unreachable")

    def mapped(self, change: Callable[[Span], Span]) -> TokenSet:
        """The same with every span replaced."""
        return replace(
            self,
            captions=tuple(map_spans(self.captions, change)),
            gold=tuple(pool.mapped(change) for pool in self.gold),
            packings={},
        )

    def fill(self, seed: int) -> float:
        """Share of the budget that the packs of the first epoch use, on average."""
        packs = self.packs(seed, 0)
        used = sum(self.plan.tokens(self.units[place] for place in pack) for pack in packs)
        return used / (len(packs) * (self.plan.budget or used))


def token_set(
    captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], plan: PackPlan, gold_batch: int
) -> TokenSet:
    """Steps of packs within the plan's budget; room for a step's instruction data is kept where that is at most half.

    Raises ArgumentError for a number of instruction samples below one.
    """
    shares = {kind: 1 / number for kind, number in count_spans(captions).items()}
    weighed = map_spans(captions, lambda span: replace(span, weight=shares[span.kind]))
    pools = gold_pool(gold, gold_batch)
    return TokenSet(tuple(merged(weighed)), pools, _with_room(plan, gold, gold_batch))


def _with_room(plan: PackPlan, gold: Sequence[CaptionItem], gold_batch: int) -> PackPlan:
    """The plan less the most that a step's instruction data take, unless that is more than half of it."""
    room = gold_batch * max((plan.row_tokens(item) for item in gold), default=0)
    if plan.budget is None or 2 * room > plan.budget:
        return plan
    return replace(plan, budget=plan.budget - room)
