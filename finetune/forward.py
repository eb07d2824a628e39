"""The module that is trained: batch in, parts of the loss out. One pass a row, whatever number of spans it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from common.progress import batches
from finetune.batches import SpanBatch
from finetune.loss import Objective, PartLosses, part_losses
from finetune.presets import NEG

if TYPE_CHECKING:
    from common.models.base import CaptionModel


class SpanLosses(nn.Module):
    """A caption model with the losses of spans as its output.

    Args:
        model: the caption model.
        unlearn: the objective of the negative spans.
        rows_at_once: rows that go through the decoder together, the longest last; None: all of them. On a CPU few
            rows stay in its caches, and rows of like length waste no padding; the losses are the same.
    """

    def __init__(self, model: CaptionModel, unlearn: Objective, rows_at_once: int | None = None) -> None:
        super().__init__()
        self.caption_model = model
        self.unlearn = unlearn
        self.rows_at_once = rows_at_once

    def features(self, batch: SpanBatch) -> Tensor:
        """Image embeddings [m, image tokens, d] of the distinct images."""
        model = self.caption_model
        return model.connect(batch.pixels.to(model.device)) if batch.seen else model.image_features(batch.pixels)

    def token_losses(self, batch: SpanBatch) -> Tensor:
        """[rows, longest target] float32; the features of each distinct image are computed once."""
        features = self.features(batch)
        groups = batches(self._by_length(batch), self.rows_at_once or len(batch.targets))
        losses = [self._losses_of(group, features, batch) for group in groups]
        longest = max(part.shape[1] for part in losses)
        stacked = torch.cat([pad(part, (0, longest - part.shape[1])) for part in losses])
        back = torch.tensor([row for group in groups for row in group], device=stacked.device).argsort()
        return stacked[back]

    def _by_length(self, batch: SpanBatch) -> list[int]:
        """Rows, the shortest first; as they are where all go at once."""
        rows = list(range(len(batch.targets)))
        return sorted(rows, key=lambda row: len(batch.targets[row])) if self.rows_at_once else rows

    def _losses_of(self, rows: list[int], features: Tensor, batch: SpanBatch) -> Tensor:
        """[k, longest target of the k rows] float32."""
        prompts, targets = [batch.prompts[row] for row in rows], [batch.targets[row] for row in rows]
        chosen = features[batch.image_of[rows].to(features.device)]
        return self.caption_model.target_losses(chosen, prompts, targets).float()

    def forward(self, batch: SpanBatch) -> PartLosses:
        """The parts of the loss, not yet weighted by kind."""
        losses = self.token_losses(batch)
        return part_losses(losses, batch.spans.to(losses.device), NEG, self.unlearn)
