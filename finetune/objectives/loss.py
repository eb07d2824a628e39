"""Unlearning objectives: from the token losses of spans to one number per span, to be minimised.

Shapes: s spans, t the longest span. A token loss is -log p(token); `real` is 1 on a span's own tokens, 0 past its end.
All in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import softplus

from common.errors import ArgumentError, suggestion

LEAST_LOSS = 1e-6  # unlikelihood of a token that is certain stays finite: -log(1 - exp(-1e-6)) = 13.8

# (token losses [s, t], real [s, t], reference means [s]) -> [s]
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def span_means(token_losses: Tensor, real: Tensor) -> Tensor:
    """Mean over each span's tokens: [s, t], [s, t] -> [s]."""
    return (token_losses * real).sum(1) / real.sum(1)


def efuf(token_losses: Tensor, real: Tensor, reference: Tensor) -> Tensor:  # noqa: ARG001
    """Gradient ascent, as published: the negated cross-entropy. Unbounded."""
    return -span_means(token_losses, real)


def npo(token_losses: Tensor, real: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Negative preference optimisation: (2 / beta) log(1 + (p / p_ref)^beta), p the geometric mean over the span.

    Its gradient is that of ascent at the start and fades as the span becomes unlikely (arXiv 2404.05868).
    """
    log_ratio = reference - span_means(token_losses, real)
    return 2 / beta * softplus(beta * log_ratio)


def simnpo(token_losses: Tensor, real: Tensor, reference: Tensor, beta: float) -> Tensor:  # noqa: ARG001
    """NPO without a reference: (2 / beta) log(1 + p^beta), p the geometric mean over the span (arXiv 2410.07163).

    Its force fades once the span is unlikely in itself, not in comparison with what it was.
    """
    return 2 / beta * softplus(-beta * span_means(token_losses, real))


def unlikelihood(token_losses: Tensor, real: Tensor, reference: Tensor) -> Tensor:  # noqa: ARG001
    """Mean of -log(1 - p(token)): at least 0, and its pull on a token ends when that has become unlikely.

    A token that is all but certain is pulled as one of `LEAST_LOSS`; a bound that ended its gradient would keep it.
    """
    safe = token_losses + (LEAST_LOSS - token_losses).clamp_min(0).detach()
    return span_means(-torch.log(-torch.expm1(-safe)), real)


OBJECTIVES: Mapping[str, Callable[..., Tensor]] = {
    "efuf": efuf,
    "npo": npo,
    "simnpo": simnpo,
    "unlikelihood": unlikelihood,
}
WITH_BETA = frozenset({"npo", "simnpo"})
NEEDS_REFERENCE = frozenset({"npo"})


def objective(name: str, beta: float) -> Objective:
    """The objective of that name; `beta` is that of npo and simnpo.

    Raises ArgumentError for an unknown name, or a beta that is not above 0.
    """
    if name not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {name} (from --objective){suggestion(name, list(OBJECTIVES))}")
    if name not in WITH_BETA:
        return OBJECTIVES[name]
    if not beta > 0:
        raise ArgumentError(f"--beta is {beta:g}; give a number above 0")
    return partial(OBJECTIVES[name], beta=beta)


@dataclass(frozen=True)
class SpanIndex:
    """Where the spans of a batch lie in its rows of token losses, as tensors of length s.

    Attributes:
        row: row of each span; start, end: its tokens, end exclusive.
        weight: of each span in the sum of its kind (sampling share times sample weight), float32.
        reference: mean token loss under the frozen reference, float32; 0 where no objective needs it.
        kinds: kind of each span.
        of_kind: places of the spans of each kind, in order of its first appearance; made here, so that a step copies
            nothing to the device for them.
    """

    row: Tensor
    start: Tensor
    end: Tensor
    weight: Tensor
    reference: Tensor
    kinds: tuple[str, ...]
    of_kind: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.of_kind:
            found = {kind: _positions(self.kinds, kind, self.row.device) for kind in dict.fromkeys(self.kinds)}
            object.__setattr__(self, "of_kind", found)

    def to(self, device: torch.device) -> SpanIndex:
        """The same on a device; does not wait for copies from page-locked memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> SpanIndex:
        """The same in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> SpanIndex:
        row, start, end, weight, reference = map(change, (self.row, self.start, self.end, self.weight, self.reference))
        of_kind = {kind: change(places) for kind, places in self.of_kind.items()}
        return SpanIndex(row, start, end, weight, reference, self.kinds, of_kind)

    def gather(self, token_losses: Tensor) -> tuple[Tensor, Tensor]:
        """Token losses [rows, longest target] -> those of the spans [s, t], and which of them are real [s, t]."""
        steps = torch.arange(token_losses.shape[1], device=token_losses.device)
        inside = (steps >= self.start[:, None]) & (steps < self.end[:, None])
        return token_losses[self.row], inside.to(token_losses.dtype)


@dataclass(frozen=True)
class PartLosses:
    """The parts of a batch's loss before their weights, and the mean cross-entropy behind each.

    Attributes:
        parts: kind -> weighted sum of the values to be minimised (negatives: of the objective).
        means: kind -> sum of the mean token losses; counts: kind -> number of spans.
    """

    parts: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    counts: Mapping[str, int]

    def total(self, weights: Mapping[str, float]) -> Tensor:
        """The loss: each part times its weight, as a scalar."""
        return torch.stack([weights[kind] * part for kind, part in self.parts.items()]).sum()


def part_losses(token_losses: Tensor, spans: SpanIndex, negative: str, unlearn: Objective) -> PartLosses:
    """Sum the spans of each kind, with their weights.

    Args:
        token_losses: [rows, longest target] float32.
        negative: the kind whose spans the objective `unlearn` is applied to; all others are learnt.
    """
    tokens, real = spans.gather(token_losses)
    means = span_means(tokens, real)
    parts, sums, counts = {}, {}, {}
    for kind, chosen in spans.of_kind.items():
        value = unlearn(tokens[chosen], real[chosen], spans.reference[chosen]) if kind == negative else means[chosen]
        parts[kind] = (spans.weight[chosen] * value).sum()
        sums[kind] = means[chosen].detach().sum()
        counts[kind] = len(chosen)
    return PartLosses(parts, sums, counts)


def _positions(kinds: Sequence[str], kind: str, device: torch.device) -> Tensor:
    return torch.tensor([i for i, k in enumerate(kinds) if k == kind], dtype=torch.long, device=device)
