"""Flags of losses, handed to the optimizer and read late."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from finetune.run.finite_guard import FiniteGuard
from finetune.run.logs import WaitClock


def _optimizer() -> tuple[torch.nn.Parameter, torch.optim.AdamW, Any]:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    return weight, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def test_no_update_after_a_loss_that_is_not_finite() -> None:
    """Neither that of its step nor the next; weights, moments and step counts stay."""
    weight, optimizer, schedule = _optimizer()
    guard = FiniteGuard(torch.device("cpu"), delay=1)
    found = []
    for number, loss in enumerate((1.0, float("inf"), 1.0)):
        guard.note(torch.tensor(loss))
        weight.grad = torch.full((3,), loss)
        found.append(guard.protect(optimizer, number, 0.0, (f"item {number}",), schedule))
        optimizer.step()
        schedule.step()
        if number == 0:
            kept, moments = weight.detach().clone(), optimizer.state[weight]["exp_avg"].clone()
    assert torch.equal(weight, kept) and torch.equal(optimizer.state[weight]["exp_avg"], moments)
    assert optimizer.state[weight]["step"].item() == 1.0
    assert found[:2] == [None, None] and found[2] is not None
    assert (found[2].number, found[2].keys, found[2].schedule["last_epoch"]) == (1, ("item 1",), 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_without_delay_it_is_known_before_the_update(bad: float) -> None:
    """Whatever the optimizer; also if only one of several batches was bad."""
    _, optimizer, schedule = _optimizer()
    guard = FiniteGuard(torch.device("cpu"), delay=0)
    for loss in (1.0, bad, 1.0):
        guard.note(torch.tensor(loss))
    failed = guard.protect(optimizer, 5, 0.5, (), schedule)
    assert failed is not None and failed.number == 5 and not hasattr(optimizer, "found_inf")


def test_the_share_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 of 10 seconds, then 3 of 5; 5 of 15 in all."""
    times = iter([0.0, 2.0, 10.0, 10.0, 13.0, 15.0, 15.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = WaitClock()
    assert clock.share() == 0.0
    with clock.waiting():
        pass
    assert clock.share_since_last() == pytest.approx(0.2)
    with clock.waiting():
        pass
    assert clock.share_since_last() == pytest.approx(0.6)
    assert clock.share() == pytest.approx(5 / 15)
