"""A batch: forward passes of image groups, their images once each, and the index of the spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.images import ImageFolder
from common.models.base import PromptIds
from finetune.data import CaptionItem, Span
from finetune.loss import SpanIndex
from finetune.opening import open_all
from finetune.packs import PackPlan, Unit
from finetune.tower_cache import TowerCache

if TYPE_CHECKING:
    from common.models.base import CaptionModel
    from common.models.packing import PackLayout


@dataclass(frozen=True)
class Rows:
    """What :class:`PackLayout` is to a model that packs: one row a branch, for a model that does not.

    Attributes:
        image_of: int64 [rows], which image a row looks at.
        prompts, targets: one a row.
    """

    image_of: Tensor
    prompts: tuple[PromptIds, ...]
    targets: tuple[tuple[int, ...], ...]

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return replace(self, image_of=self.image_of.to(device, non_blocking=True))

    def pin_memory(self) -> Rows:
        """The same; there is next to nothing to pin."""
        return self


@dataclass(frozen=True)
class Pack:
    """What goes through the model at once.

    Attributes:
        pixels: [m, 3, h, w] float32, one for each distinct image; or, where the frozen tower's outputs are kept,
            those: [m, k, hidden size of the tower], and `seen` is set.
        layout: where images, prompts and branches lie.
        spans: of all branches.
        items: one a branch, in the layout's order.
        tokens: that the pack takes, padding aside.
    """

    pixels: Tensor
    layout: PackLayout | Rows
    spans: SpanIndex
    items: tuple[CaptionItem, ...]
    tokens: int
    seen: bool = False

    def to(self, device: torch.device) -> Pack:
        """The same on a device; does not wait for the copies from page-locked memory."""
        # A model that does not run its tower apart has what its own processor made, which it moves itself.
        pixels = self.pixels.to(device, non_blocking=True) if isinstance(self.pixels, Tensor) else self.pixels
        return replace(self, pixels=pixels, layout=self.layout.to(device), spans=self.spans.to(device))

    def pin_memory(self) -> Pack:
        """The same in page-locked memory."""
        return replace(
            self, pixels=self.pixels.pin_memory(), layout=self.layout.pin_memory(), spans=self.spans.pin_memory()
        )


@dataclass(frozen=True)
class StepBatch:
    """The packs of a step; their gradients are summed."""

    packs: tuple[Pack, ...]

    @property
    def items(self) -> list[CaptionItem]:
        """Of all packs."""
        return [item for pack in self.packs for item in pack.items]

    def pin_memory(self) -> StepBatch:
        """The same in page-locked memory."""
        return StepBatch(tuple(pack.pin_memory() for pack in self.packs))


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
        return StepBatch(tuple(self._pack(units) for units in self.plan.cut(items)))

    def halved(self, items: Sequence[CaptionItem]) -> StepBatch:
        """As a call, in packs of half the size."""
        return replace(self, plan=self.plan.halved(self.plan.cut(items)))(items)

    def _pack(self, units: Sequence[Unit]) -> Pack:
        items = tuple(item for unit in units for item in unit.items)
        names = list(dict.fromkeys(item.image for item in items))
        return Pack(
            pixels=self.cache(names) if self.cache else self.model.preprocess(open_all(self.images, names)),
            layout=self._layout(units, names) if self.plan.shares else _rows(items, names),
            spans=span_index(items),
            items=items,
            tokens=self.plan.tokens(units),
            seen=self.cache is not None,
        )

    def _layout(self, units: Sequence[Unit], names: list[str]) -> PackLayout:
        from common.models.packing import PackedImage, lay_out

        groups = [
            PackedImage(names.index(unit.items[0].image), unit.items[0].prompt, tuple(i.ids for i in unit.items))
            for unit in units
        ]
        return lay_out(groups, self.plan.image_tokens, self.plan.length(units))


def _rows(items: Sequence[CaptionItem], names: list[str]) -> Rows:
    return Rows(
        image_of=torch.tensor([names.index(item.image) for item in items]),
        prompts=tuple(item.prompt for item in items),
        targets=tuple(item.ids for item in items),
    )


def span_index(items: Sequence[CaptionItem]) -> SpanIndex:
    """Rows, ranges and weights of all spans of the items."""
    pairs: list[tuple[int, Span]] = [(row, span) for row, item in enumerate(items) for span in item.spans]
    return SpanIndex(
        row=torch.tensor([row for row, _ in pairs], dtype=torch.long),
        start=torch.tensor([span.start for _, span in pairs], dtype=torch.long),
        end=torch.tensor([span.end for _, span in pairs], dtype=torch.long),
        weight=torch.tensor([span.weight for _, span in pairs], dtype=torch.float32),
        reference=torch.tensor([span.reference for _, span in pairs], dtype=torch.float32),
        kinds=tuple(span.kind for _, span in pairs),
    )


@dataclass(frozen=True)
class AsMapping:
    """A collator of the only entry of a batch; transformers' Trainer passes on mappings only."""

    collator: Collator

    def __call__(self, batches: Sequence[Sequence[CaptionItem]]) -> dict[str, StepBatch]:
        """The batch under the key `batch`."""
        (items,) = batches
        return {"batch": self.collator(items)}
