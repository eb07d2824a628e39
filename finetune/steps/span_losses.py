"""The module that is trained: pack in, parts of the loss out. One pass an image group, whatever spans it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from finetune.corpus.records import NEG
from finetune.objectives.loss import Objective, PartLosses, part_losses
from finetune.steps.batch import Pack, Rows

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

    def features(self, pack: Pack) -> Tensor:
        """Image embeddings [m, image tokens, d] of the distinct images."""
        model = self.caption_model
        return model.connect(pack.pixels) if pack.seen else model.image_features(pack.pixels)

    def token_losses(self, pack: Pack) -> Tensor:
        """[rows, longest target] float32, of a pack on the model's device; each distinct image is looked at once."""
        features, layout = self.features(pack), pack.layout
        if isinstance(layout, Rows):
            chosen = features[layout.image_of]
            return self.caption_model.target_losses(chosen, layout.prompts, layout.targets).float()
        return self.caption_model.packed_losses(features, layout)

    def forward(self, pack: Pack) -> PartLosses:
        """The parts of the loss, not yet weighted by kind."""
        pack = pack.to(self.caption_model.device)
        return part_losses(self.token_losses(pack), pack.spans, NEG, self.unlearn)
