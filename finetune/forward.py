"""The module that is trained: batch in, parts of the loss out. One pass a row, whatever number of spans it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

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
    """

    def __init__(self, model: CaptionModel, unlearn: Objective) -> None:
        super().__init__()
        self.caption_model = model
        self.unlearn = unlearn

    def features(self, batch: SpanBatch) -> Tensor:
        """Image embeddings [m, image tokens, d] of the distinct images."""
        model = self.caption_model
        return model.connect(batch.pixels.to(model.device)) if batch.seen else model.image_features(batch.pixels)

    def token_losses(self, batch: SpanBatch) -> Tensor:
        """[rows, longest target] float32; the features of each distinct image are computed once."""
        model, features = self.caption_model, self.features(batch)
        rows = features[batch.image_of.to(features.device)]
        return model.target_losses(rows, batch.prompts, batch.targets).float()

    def forward(self, batch: SpanBatch) -> PartLosses:
        """The parts of the loss, not yet weighted by kind."""
        losses = self.token_losses(batch)
        return part_losses(losses, batch.spans.to(losses.device), NEG, self.unlearn)
