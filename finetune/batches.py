"""A batch: rows of target tokens, their images once each, and the index of the spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.errors import DataError
from common.images import ImageFolder
from common.models.base import PromptIds
from finetune.data import CaptionItem, Span
from finetune.loss import SpanIndex

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class SpanBatch:
    """What a step needs; everything on the CPU.

    Attributes:
        pixels: [m, 3, h, w] float32, one for each distinct image.
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

    def pin_memory(self) -> SpanBatch:
        """The same with the pixels in page-locked memory."""
        pixels = self.pixels.pin_memory()
        return SpanBatch(pixels, self.image_of, self.prompts, self.targets, self.spans, self.keys)


@dataclass(frozen=True)
class Collator:
    """Items -> batch. `images` holds absolute paths too, for images of another folder."""

    model: CaptionModel
    images: ImageFolder

    def __call__(self, items: Sequence[CaptionItem]) -> SpanBatch:
        """Open each distinct image once. Raises DataError for an image that can no longer be read."""
        names = list(dict.fromkeys(item.image for item in items))
        opened = [self.images.open(name) for name in names]
        for name, image in zip(names, opened, strict=True):
            if image is None:
                raise DataError(f"{self.images.lost[name]}; it could be read when training began")
        return SpanBatch(
            pixels=self.model.preprocess(opened),
            image_of=torch.tensor([names.index(item.image) for item in items]),
            prompts=tuple(item.prompt for item in items),
            targets=tuple(item.ids for item in items),
            spans=span_index(items),
            keys=tuple(item.key for item in items),
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
