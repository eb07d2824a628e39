"""Objectives and the sum of parts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.errors import ArgumentError
from finetune.corpus.records import GOLD, NEG, POS
from finetune.objectives.loss import SpanIndex, efuf, npo, objective, part_losses, span_means, unlikelihood

LOSSES = torch.tensor([[0.5, 1.5, 9.0], [2.0, 4.0, 6.0]])
REAL = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
NONE = torch.zeros(2)


def spans(*entries: tuple[str, int, int, int, float]) -> SpanIndex:
    """(kind, row, start, end, weight) each."""
    kinds, rows, starts, ends, weights = zip(*entries, strict=True)
    return SpanIndex(
        torch.tensor(rows),
        torch.tensor(starts),
        torch.tensor(ends),
        torch.tensor(weights),
        torch.zeros(len(rows)),
        kinds,
    )


def test_t5_t6_mean_is_over_the_targets_tokens_alone() -> None:
    """Not over the padded length, the prompt, or a fixed 512 positions."""
    assert span_means(LOSSES, REAL).tolist() == [1.0, 4.0]
    wider = torch.nn.functional.pad(LOSSES, (0, 500), value=3.0)
    assert span_means(wider, torch.nn.functional.pad(REAL, (0, 500))).tolist() == [1.0, 4.0]


def test_ascent_is_the_negated_mean() -> None:
    """L_neg = -L_ft."""
    assert efuf(LOSSES, REAL, NONE).tolist() == [-1.0, -4.0]


def test_npo_by_hand() -> None:
    """(2 / beta) log(1 + (p / p_ref)^beta) with p = exp(-mean loss)."""
    value = npo(LOSSES, REAL, torch.tensor([2.0, 3.0]), beta=0.5)
    expected = [
        4 * math.log(1 + (math.exp(-1.0) / math.exp(-2.0)) ** 0.5),
        4 * math.log(1 + math.exp(-4.0 + 3.0) ** 0.5),
    ]
    assert value.tolist() == pytest.approx(expected)


def _slope(name: str, loss: float, reference: float, beta: float = 0.1) -> float:
    """Derivative of an objective in the loss of a span of one token."""
    token = torch.tensor([[loss]], requires_grad=True)
    value = objective(name, beta)(token, torch.ones(1, 1), torch.tensor([reference]))
    (slope,) = torch.autograd.grad(value.sum(), token)
    return slope.item()


def test_t15_bounded_objectives_let_go_of_what_is_forgotten() -> None:
    """Ascent pulls with force 1 for ever; npo starts with that force and fades; unlikelihood too."""
    assert _slope("efuf", 1.0, 1.0) == _slope("efuf", 200.0, 1.0) == -1.0
    assert _slope("npo", 1.0, 1.0) == pytest.approx(-1.0)
    assert -1e-3 < _slope("npo", 200.0, 1.0) < 0
    assert _slope("unlikelihood", math.log(2), 0.0) == pytest.approx(-1.0)
    assert -1e-4 < _slope("unlikelihood", 12.0, 0.0) < 0


def test_npo_tends_to_ascent_for_small_beta() -> None:
    """Its gradient becomes that of ascent, wherever the model is."""
    assert _slope("npo", 5.0, 1.0, beta=1e-6) == pytest.approx(-1.0, abs=1e-5)


def test_simnpo_by_hand() -> None:
    """A span of two tokens with losses 1 and 3: p = exp(-2); whatever the reference."""
    tokens, real = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    for reference in (0.0, 5.0):
        found = objective("simnpo", 0.5)(tokens, real, torch.tensor([reference]))
        assert found.item() == pytest.approx(2 / 0.5 * math.log(1 + math.exp(-2) ** 0.5), rel=1e-6)


@given(st.floats(0, 1e4))
def test_unlikelihood_is_finite_and_not_negative(loss: float) -> None:
    """Also for tokens that are certain or impossible."""
    value = unlikelihood(torch.tensor([[loss]]), torch.ones(1, 1), torch.zeros(1))
    assert 0 <= value.item() < 20


def test_unlikelihood_pulls_on_a_token_that_is_all_but_certain() -> None:
    """Of logits (16, 0): p = 1 - 1.1e-7, whose loss lies below the bound."""
    logits = torch.tensor([[16.0, 0.0]], requires_grad=True)
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor([0]), reduction="none")
    unlikelihood(losses[:, None], torch.ones(1, 1), torch.zeros(1)).sum().backward()
    assert logits.grad is not None and 0.05 < logits.grad[0, 0] < 1.01 and logits.grad[0, 1] < -0.05


def test_parts_by_hand() -> None:
    """Two spans of one row share its losses; each kind is summed with the spans' weights."""
    index = spans((POS, 0, 0, 2, 0.5), (NEG, 1, 1, 3, 2.0), (POS, 1, 0, 1, 1.0))
    parts = part_losses(LOSSES, index, NEG, efuf)
    assert {kind: value.item() for kind, value in parts.parts.items()} == {POS: 0.5 * 1.0 + 2.0, NEG: 2.0 * -5.0}
    assert parts.total({POS: 1.0, NEG: 0.3}).item() == pytest.approx(2.5 - 3.0)
    assert (parts.means[NEG].item(), parts.counts[POS]) == (5.0, 2)


def test_t13_a_batch_of_instruction_data_alone_is_no_special_case() -> None:
    """The published collator took its type from the first part and failed when that was instruction data."""
    parts = part_losses(LOSSES, spans((GOLD, 0, 0, 2, 40.0)), NEG, efuf)
    total: Tensor = parts.total({POS: 0.0, NEG: 0.3, GOLD: 0.3})
    assert total.dtype == torch.float32 and total.item() == pytest.approx(12.0)


def test_unknown_objective_and_bad_beta() -> None:
    """Named, with the nearest."""
    with pytest.raises(ArgumentError, match="did you mean unlikelihood"):
        objective("unlikelyhood", 0.1)
    with pytest.raises(ArgumentError, match="--beta is 0"):
        objective("npo", 0.0)
