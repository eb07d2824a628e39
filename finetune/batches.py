"""A batch: rows of target tokens, their images once each, and the index of the spans."""

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
from finetune.tower_cache import TowerCache

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class SpanBatch:
    """What a step needs; everything on the CPU.

    Attributes:
        pixels: [m, 3, h, w] float32, one for each distinct image; or, where the frozen tower's outputs are kept,
            those: [m, k, hidden size of the tower], and `seen` is set.
        image_of: int64 [rows], which image a row looks at.
        prompts, targets: one a row.
        spans: of all rows.
        keys: of the items, for messages.
    """

    pixels: Tensor
    image_of: Tensor
    prompts: tuple[PromptIds, ...]
    targets: tuple[tuple[int, ...], ...]
    spans: SpanIndex
    keys: tuple[str, ...]
    seen: bool = False

    def pin_memory(self) -> SpanBatch:
        """The same with the pixels in page-locked memory."""
        return replace(self, pixels=self.pixels.pin_memory())


@dataclass(frozen=True)
class Collator:
    """Items -> batch.

    Args:
        model: whose preprocessing is used.
        images: their folder; absolute paths, of images elsewhere, are taken as they are.
        cache: what keeps the tower's outputs, if anything does.
    """

    model: CaptionModel
    images: ImageFolder
    cache: TowerCache | None = None

    def __call__(self, items: Sequence[CaptionItem]) -> SpanBatch:
        """Open each distinct image once. Raises DataError for an image that can no longer be read."""
        names = list(dict.fromkeys(item.image for item in items))
        pixels = self.cache(names) if self.cache else self.model.preprocess(open_all(self.images, names))
        return SpanBatch(
            pixels=pixels,
            image_of=torch.tensor([names.index(item.image) for item in items]),
            prompts=tuple(item.prompt for item in items),
            targets=tuple(item.ids for item in items),
            spans=span_index(items),
            keys=tuple(item.key for item in items),
            seen=self.cache is not None,
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
    """A collator whose batch transformers' Trainer passes on whole: it takes mappings only."""

    collator: Collator

    def __call__(self, items: Sequence[CaptionItem]) -> dict[str, SpanBatch]:
        """The batch under the key `batch`."""
        return {"batch": self.collator(items)}
