"""The gradient of one batch: its packs one after the other, gradients averaged over processes at the end.

A pack's graph is gone before the next pack begins, so memory is bounded by the budget of a pack, not by the batch.
Processes may have different numbers of packs: they exchange nothing before all are done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Protocol

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.models.lanes import in_order
from common.progress import announce
from finetune.corpus.records import KINDS, CaptionItem
from finetune.objectives.loss import PartLosses
from finetune.steps.batch import Pack, StepBatch

# (pack) -> loss with its graph, and its parts
PackLoss = Callable[[Pack], tuple[Tensor, PartLosses]]


class Halving(Protocol):
    """What cuts packs anew; see :class:`finetune.steps.collate.Collator`."""

    def halved(self, items: Sequence[CaptionItem]) -> StepBatch:
        """The items in packs of half the size."""


class OutOfMemoryError(UserError):
    """A step did not fit into the GPU's memory, not even in packs of half the size."""


@dataclass(frozen=True)
class StepResult:
    """What packs gave together; the numbers of spans stay on the host, so that nothing is copied to a GPU for them.

    Attributes:
        loss: sum over the packs.
        sums: of the mean token losses of each of `KINDS`.
        counts: number of spans of each.
    """

    loss: Tensor
    sums: Tensor
    counts: tuple[int, ...]

    def table(self, device: torch.device) -> Tensor:
        """Sums and counts as [2, kinds] on a device, in float64."""
        counts = torch.tensor(self.counts, dtype=torch.float64, device=device)
        return torch.stack([self.sums.to(device, torch.float64), counts])

    def __add__(self, other: StepResult) -> StepResult:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return StepResult(self.loss + other.loss, self.sums + other.sums, counts)


def result_of(loss: Tensor, parts: PartLosses) -> StepResult:
    """The result of one pack."""
    zero = torch.zeros_like(loss.detach())
    sums = torch.stack([parts.means.get(kind, zero) for kind in KINDS])
    return StepResult(loss.detach(), sums, tuple(parts.counts.get(kind, 0) for kind in KINDS))


@dataclass
class PackedStep:
    """Backward passes of a step's batches, done again in smaller packs where memory runs out.

    Args:
        trained: the module whose gradients are made.
        collator: cuts packs anew.
        backward: of a loss.
        lanes: packs computed side by side (`common/models/lanes.py`); their gradients are added in their order.
        done: batches of the step so far (several, where gradients are accumulated).
        retries: steps that were done again.
    """

    trained: nn.Module
    collator: Halving
    backward: Callable[[Tensor], None]
    lanes: int = 1
    done: list[StepBatch] = field(default_factory=list)
    retries: int = 0

    def add(self, batch: StepBatch, loss_of: PackLoss) -> StepResult:
        """Add the gradient of one batch. Raises OutOfMemoryError if it does not fit in halved packs either."""
        try:
            result = self._run(batch, loss_of)
        except torch.cuda.OutOfMemoryError:
            result = None  # the frames of the failed pass, and what they hold, go with the handled exception
        if result is None:
            result = self._again(batch, loss_of)
        self.done.append(batch)
        return result

    def _again(self, batch: StepBatch, loss_of: PackLoss) -> StepResult:
        """The whole step from its first batch: a backward pass that broke off has left part of its gradients."""
        self.retries += 1
        size = max(pack.tokens for pack in batch.packs)
        announce(
            f"out of GPU memory with packs of up to {size} tokens; the step is done again in packs of half the size"
        )
        self.trained.zero_grad()
        _release()
        try:
            for earlier in self.done:
                self._run(self.collator.halved(earlier.items), loss_of)
            return self._run(self.collator.halved(batch.items), loss_of)
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemoryError(
                f"out of GPU memory, also with packs of {size // 2} tokens; lower --tokens_per_batch, or take "
                "--gradient_checkpointing or --load_in_4bit"
            ) from None

    def _run(self, batch: StepBatch, loss_of: PackLoss) -> StepResult:
        if self.lanes > 1:
            return self._run_in_lanes(batch, loss_of)
        return reduce(add, [self._run_pack(pack, loss_of) for pack in batch.packs])

    def _run_pack(self, pack: Pack, loss_of: PackLoss) -> StepResult:
        loss, parts = loss_of(pack)
        self.backward(loss)
        return result_of(loss, parts)

    def _run_in_lanes(self, batch: StepBatch, loss_of: PackLoss) -> StepResult:
        parameters = [parameter for parameter in self.trained.parameters() if parameter.requires_grad]

        def run_pack(pack: Pack) -> tuple[StepResult, tuple[Tensor | None, ...]]:
            loss, parts = loss_of(pack)
            return result_of(loss, parts), torch.autograd.grad(loss, parameters, allow_unused=True)

        results = []
        for result, gradients in in_order(run_pack, batch.packs, self.lanes):
            results.append(result)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return reduce(add, results)

    def average(self, processes: int) -> None:
        """Average the gradients over the processes, and begin a new step."""
        self.done.clear()
        if processes == 1:
            return
        for parameter in self.trained.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= processes


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
