"""Batches that the training benchmark runs: laid out beforehand, or opened from files by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from common.models.base import CaptionModel
from finetune.corpus.records import CaptionItem
from finetune.steps.batch import StepBatch
from tests.bench.train.items import CaptionShape, Shape, batches
from tests.bench.train.steps import collator

WORKERS = 8


@dataclass
class BenchData:
    """Images of a folder, and captions of the published statistics.

    Args:
        captions: a real set's lengths and spans; none: synthetic ones.
        most: tokens of a pack.
        asked: images of a pack, if not as many as fit.
    """

    model: CaptionModel
    folder: Path
    shape: Shape
    captions: Sequence[CaptionShape]
    most: int
    asked: int | None
    image_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.gpu = self.model.device.type == "cuda"
        self.vocabulary = self.model.lm.get_input_embeddings().weight.shape[0]
        with torch.no_grad():
            self.image_tokens = self.model.image_features(self.pixels(1)).shape[1]

    def prepared(self, count: int, images: int) -> list[StepBatch]:
        """Four batches made beforehand."""
        source = self.items(count, images)
        first = next(source)
        collate = collator(self.model, self.folder, first, self.image_tokens)
        made = [collate(items) for items in [first, *islice(source, 3)]]
        return [batch.pin_memory() if self.gpu else batch for batch in made]

    def loader(self, count: int, steps: int) -> Any:
        """Batches opened by worker processes, in page-locked memory."""
        some = list(islice(self.items(count, self.images(count)), steps))
        collate = collator(self.model, self.folder, some[0], self.image_tokens)
        return torch.utils.data.DataLoader(
            some,  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=collate,
            num_workers=WORKERS if self.gpu else 2,
            pin_memory=self.gpu,
        )

    def items(self, count: int, images: int) -> Iterator[list[CaptionItem]]:
        """Batches of items."""
        return batches(self.shape, list(self.captions), images, count, self.vocabulary)

    def images(self, count: int) -> int:
        """Images of a pack: as asked for, or as many as fit."""
        if self.asked is not None:
            return self.asked
        own = self.image_tokens + self.shape.after + count * self.shape.caption
        return max(1, (self.most - self.shape.before) // own)

    def pixels(self, count: int) -> Any:
        """So many images of the folder, on the device."""
        from PIL import Image

        images = [Image.open(self.folder / f"{i}.jpg") for i in range(count)]
        return self.model.preprocess(images).to(self.model.device)
