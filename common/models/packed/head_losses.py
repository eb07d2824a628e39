"""Cross-entropy of target tokens from hidden states, without keeping logits.

Each token's loss depends on its own hidden state alone. So where the head is frozen, the gradient of each loss is made
with the loss, a few rows at a time, and the backward pass only scales it: n x d numbers are kept instead of
n x vocabulary, and nothing is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, linear

CHUNK = 1024  # rows of logits at a time: 125 MiB in float32 for a vocabulary of 32000


def head_losses(head: nn.Module, hidden: Tensor, ids: Tensor) -> Tensor:
    """Hidden states [n, d], target ids [n] -> losses [n] in float32 or wider."""
    if type(head) is nn.Linear and not head.weight.requires_grad and head.bias is None and not head._forward_hooks:
        losses: Tensor = _FrozenHead.apply(hidden, head.weight, ids)
        return losses
    return token_losses(head(hidden), ids)


def token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of each token, computed in float32 or wider: logits [k, vocabulary], ids [k] -> [k]."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(wide, ids, reduction="none")


class _FrozenHead(torch.autograd.Function):
    """Losses with the gradient of each made on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[0]
        losses, gradients = [], []
        for some, chosen in zip(hidden.split(CHUNK), ids.split(CHUNK), strict=True):
            logits = linear(some, weight)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            scale = logits.logsumexp(1, keepdim=True)
            losses.append((scale - logits.gather(1, chosen[:, None]))[:, 0])
            if needed:
                errors = logits.sub_(scale).exp_()
                errors.scatter_add_(1, chosen[:, None], errors.new_full((len(chosen), 1), -1.0))
                gradients.append(errors.to(hidden.dtype) @ weight)
        if needed:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (each,) = ctx.saved_tensors
        return (each * gradient[:, None]).to(each.dtype), None, None
