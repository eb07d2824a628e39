"""A batch: packs that go through the model one after the other, and where their spans lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.models.packed.layout import PackLayout
from common.models.text.ids import PromptIds
from finetune.corpus.records import CaptionItem, Span
from finetune.objectives.loss import SpanIndex


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
