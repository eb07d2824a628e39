"""Images and prompts as `auto` passes them along: as they are, or as its tower saw them, until both make a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.models.packed.foreign.tower import Record
from common.models.text.ids import PromptIds


@dataclass(frozen=True)
class TextPrompt(PromptIds):
    """A prompt that stays text until its image is known."""

    text: str = ""


@dataclass(frozen=True)
class RawImages:
    """Images in place of a tensor of pixels or features: indexed by a tensor, pinned and moved for free."""

    images: tuple[Any, ...]
    device: torch.device
    tokens: int = 0  # that the first image of the model took; images of other sizes may take more or fewer
    hidden: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """As features would have it: images, tokens of one image, hidden size."""
        return len(self.images), self.tokens, self.hidden

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.images)

    def __getitem__(self, index: Tensor) -> RawImages:
        return replace(self, images=tuple(self.images[i] for i in index.tolist()))

    def to(self, device: torch.device | str) -> RawImages:
        """The same; inputs are moved when they are made."""
        return replace(self, device=torch.device(device))

    def pin_memory(self) -> RawImages:
        """The same; there is nothing to pin."""
        return self


@dataclass(frozen=True)
class SeenImages:
    """What is kept of the tower for each image, in place of pixels and features."""

    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def to(self, device: torch.device | str) -> SeenImages:
        """The same; what is kept is moved when it is used."""
        del device
        return self

    def pin_memory(self) -> SeenImages:
        """The same in page-locked memory."""
        return SeenImages(tuple({key: value.pin_memory() for key, value in r.items()} for r in self.records))
