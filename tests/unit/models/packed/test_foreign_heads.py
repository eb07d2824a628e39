"""What stands behind the head of a model is told from its logits, whatever the configuration calls it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from common.models.packed.foreign.handing import Unpackable
from common.models.packed.foreign.heads import head_of


def shown(**stated: float) -> tuple[SimpleNamespace, torch.Tensor]:
    """A model with such numbers in its configuration, and hidden states."""
    torch.manual_seed(0)
    head = nn.Linear(16, 50, bias=False)
    return SimpleNamespace(config=LlamaConfig(**stated), get_output_embeddings=lambda: head), torch.randn(9, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("stated", "scale", "bound"),
    [
        ({}, 1.0, None),
        ({"some_multiplier": 0.19}, 0.19, None),
        ({"some_divisor": 7.0}, 1 / 7, None),
        ({"final_logit_softcapping": 30.0}, 1.0, 30.0),  # logits of a random head are far below it
        ({"final_logit_softcapping": 0.5, "some_multiplier": 0.3}, 0.3, 0.5),
        ({"final_logit_softcapping": 30.0}, 1.0, None),  # which this model does not use
    ],
)
def test_scale_and_bound_are_found(
    stated: dict[str, float], scale: float, bound: float | None, dtype: torch.dtype
) -> None:
    lm, hidden = shown(**stated)
    hidden = hidden.to(dtype)
    lm.get_output_embeddings().to(dtype)
    logits = lm.get_output_embeddings()(hidden) * scale
    if bound is not None:
        logits = torch.tanh(logits / bound) * bound
    found = head_of(lm, hidden, logits)
    assert found.scale == pytest.approx(scale)
    if dtype == torch.float32 or bound is None or bound < 1:
        assert found.bound == bound
    torch.testing.assert_close(found.logits(lm, hidden), logits, rtol=2e-2, atol=1e-3)


def test_a_scale_that_is_stated_nowhere_is_not_guessed() -> None:
    lm, hidden = shown()
    with pytest.raises(Unpackable, match="not what its head makes"):
        head_of(lm, hidden, lm.get_output_embeddings()(hidden) * 0.77)
