"""The gradient of one batch: its packs one after the other, gradients averaged over processes at the end.

A pack's graph is gone before the next pack begins, so memory is bounded by the budget of a pack, not by the batch.
Processes may have different numbers of packs: they exchange nothing before all are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.progress import announce
from finetune.batches import Collator, StepBatch
from finetune.loss import PartLosses
from finetune.presets import KINDS

# (pack) -> loss with its graph, and its parts
PackLoss = Callable[[Any], tuple[Tensor, PartLosses]]


class OutOfMemoryError(UserError):
    """A step did not fit into the GPU's memory, not even in packs of half the size."""


@dataclass
class StepResult:
    """Sum of the losses of all packs, and of the tables of :meth:`finetune.loss.PartLosses.table`."""

    loss: Tensor
    table: Tensor


@dataclass
class PackedStep:
    """Backward passes of a step's batches, done again in smaller packs where memory runs out.

    Args:
        trained: the module whose gradients are made.
        collator: cuts packs anew.
        backward: of a loss.
        done: batches of the step so far (several, where gradients are accumulated).
        retries: steps that were done again.
    """

    trained: nn.Module
    collator: Collator
    backward: Callable[[Tensor], None]
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
        losses, tables = [], []
        for pack in batch.packs:
            loss, parts = loss_of(pack)
            self.backward(loss)
            losses.append(loss.detach())
            tables.append(parts.table(KINDS))
        return StepResult(torch.stack(losses).sum(), torch.stack(tables).sum(0))

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
