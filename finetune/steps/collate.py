"""Items to packs: each distinct image of a pack opened once, its captions laid out behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from common.files.images import ImageFolder
from finetune.corpus.records import CaptionItem
from finetune.features.tower_cache import TowerCache
from finetune.steps.batch import Pack, Rows, StepBatch, span_index
from finetune.steps.packs import PackPlan, Unit

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class Collator:
    """Items -> packs.

    Args:
        model: whose preprocessing is used.
        images: their folder; absolute paths, of images elsewhere, are taken as they are.
        plan: how items become packs.
        cache: what keeps the tower's outputs, if anything does.
    """

    model: CaptionModel
    images: ImageFolder
    plan: PackPlan
    cache: TowerCache | None = None

    def __call__(self, items: Sequence[CaptionItem]) -> StepBatch:
        """Open each distinct image of a pack once. Raises DataError for an image that can no longer be read."""
        if self.cache:
            self.cache.prepare(item.image for item in items)
        return StepBatch(tuple(self._pack(units) for units in self.plan.cut(items)))

    def halved(self, items: Sequence[CaptionItem]) -> StepBatch:
        """As a call, in packs of half the size."""
        return replace(self, plan=self.plan.halved(self.plan.cut(items)))(items)

    def _pack(self, units: Sequence[Unit]) -> Pack:
        items = tuple(item for unit in units for item in unit.items)
        names = list(dict.fromkeys(item.image for item in items))
        pixels = self.cache(names) if self.cache else self.model.preprocess(self.images.open_all(names))
        return Pack(
            pixels=pixels,
            layout=self._layout(pixels, units, names) if self.plan.shares else _rows(items, names),
            spans=span_index(items),
            items=items,
            tokens=self.plan.tokens(units),
            seen=self.cache is not None,
        )

    def _layout(self, pixels: Any, units: Sequence[Unit], names: list[str]) -> Any:
        from common.models.packed.layout import PackedImage

        groups = [
            PackedImage(names.index(unit.items[0].image), unit.items[0].prompt, tuple(i.ids for i in unit.items))
            for unit in units
        ]
        plan = self.plan
        return self.model.lay_out(pixels, groups, plan.image_tokens, plan.length(units), plan.static)


def _rows(items: Sequence[CaptionItem], names: list[str]) -> Rows:
    return Rows(
        image_of=torch.tensor([names.index(item.image) for item in items]),
        prompts=tuple(item.prompt for item in items),
        targets=tuple(item.ids for item in items),
    )


@dataclass(frozen=True)
class AsMapping:
    """A collator of the only entry of a batch; transformers' Trainer passes on mappings only."""

    collator: Collator

    def __call__(self, batches: Sequence[Sequence[CaptionItem]]) -> dict[str, StepBatch]:
        """The batch under the key `batch`."""
        (items,) = batches
        return {"batch": self.collator(items)}
