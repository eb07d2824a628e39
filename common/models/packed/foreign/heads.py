"""What a model makes of its decoder's last hidden states: its head, and a scale or a bound that some put behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.models.packed.foreign.handing import Unpackable
from common.models.packed.head_losses import head_losses, token_losses


@dataclass(frozen=True)
class Head:
    """Logits are bound * tanh(scale * head(hidden) / bound); without a bound, scale * head(hidden)."""

    scale: float = 1.0
    bound: float | None = None

    def logits(self, lm: Any, hidden: Tensor) -> Tensor:
        """[n, d] -> [n, vocabulary]."""
        made: Tensor = lm.get_output_embeddings()(hidden)
        if self.scale != 1.0:
            made = made * self.scale
        return made if self.bound is None else torch.tanh(made / self.bound) * self.bound

    def losses(self, lm: Any, hidden: Tensor, ids: Tensor) -> Tensor:
        """Cross-entropy of the ids: [n, d], [n] -> [n] in float32 or wider."""
        if self.bound is not None:
            return token_losses(self.logits(lm, hidden), ids)
        return head_losses(lm.get_output_embeddings(), hidden if self.scale == 1.0 else hidden * self.scale, ids)


@torch.no_grad()
def head_of(lm: Any, hidden: Tensor, logits: Tensor) -> Head:
    """The head that makes these logits [n, vocabulary] of the decoder's last hidden states [n, d].

    Raises Unpackable if none does that the configuration could mean.
    """
    for head in _candidates(lm.config):
        made = head.logits(lm, hidden).float()
        if made.shape == logits.shape and _close(made, logits.float(), 1e-4 if hidden.dtype.itemsize > 2 else 0.05):
            return head
    raise Unpackable("its logits are not what its head makes of its decoder's output")


def _candidates(config: Any) -> list[Head]:
    """Without anything behind the head, then as the names of its settings say."""
    text = config.get_text_config()
    said = {name: getattr(text, name, None) or getattr(config, name, None) for name in NAMES}
    scale = said["logit_scale"] or (1 / said["logits_scaling"] if said["logits_scaling"] else 1.0)
    return [Head(), Head(float(scale)), Head(float(scale), said["final_logit_softcapping"])]


NAMES = ("logit_scale", "logits_scaling", "final_logit_softcapping")


def _close(one: Tensor, other: Tensor, share: float) -> bool:
    return bool((one - other).abs().max() <= share * other.abs().max().clamp_min(1e-6))
