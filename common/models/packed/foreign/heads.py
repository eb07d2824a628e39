"""What a model makes of its decoder's last hidden states: its head, and a scale or a bound that some put behind it."""

from __future__ import annotations

from collections.abc import Collection
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

    Scale and bound are numbers that the configuration states, whatever it calls the scale.

    Raises Unpackable if none of them does that.
    """
    text = lm.config.get_text_config()
    made, wanted = Head().logits(lm, hidden).float(), logits.float()
    share = 1e-4 if hidden.dtype.itemsize > 2 else 0.05
    if made.shape == wanted.shape:
        bounds = dict.fromkeys((None, getattr(text, BOUND, None), getattr(lm.config, BOUND, None)))
        heads = [Head(_scale(made, wanted, bound, _stated(text, lm.config)), bound) for bound in bounds]
        off = [_off(head.logits(lm, hidden).float(), wanted) for head in heads]
        if min(off) <= share:
            return heads[off.index(min(off))]
    raise Unpackable("its logits are not what its head makes of its decoder's output")


BOUND = "final_logit_softcapping"
STRAIGHT = 0.9  # share of a bound up to which what was bounded can be told


def _stated(*configs: Any) -> set[float]:
    """The numbers of configurations, and 1 over them, for those by which logits are divided."""
    values = (value for config in configs for value in config.to_dict().values())
    numbers = {float(value) for value in values if isinstance(value, int | float) and value > 0}
    return {1.0} | numbers | {1 / number for number in numbers}


def _scale(made: Tensor, wanted: Tensor, bound: float | None, stated: Collection[float]) -> float:
    """Of the stated numbers the one that is nearest to what makes of the head's own logits those that are wanted."""
    if bound is not None:
        made, wanted = (of[wanted.abs() < STRAIGHT * bound] for of in (made, wanted))
        wanted = bound * torch.atanh(wanted / bound)
    scale = float((made * wanted).sum() / made.square().sum().clamp_min(1e-12))
    return min(stated, key=lambda number: abs(number - scale))


def _off(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-6))
