"""Beam search exactly as transformers' (`GenerationMixin._beam_search`, early_stopping=False), slot by slot.

The same operations on the same values in the same order, so that equal scores fall the same way as far as torch's
`topk` gives them an order. There, all rows of a batch are at one step; here each slot has its own.
Sizes: s slots, b beams, k candidates, t steps, v ids of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.transfer import sent

if TYPE_CHECKING:
    from common.models.generation.decoding import Decoding


NEVER = -1.0e9  # the score of what must not be chosen


class Beams:
    """The running beams of each slot and the best finished ones. All state is changed in place.

    Args:
        slots: how many.
        decoding: beams, steps and length penalty.
        stop_ids: that end a beam.
    """

    def __init__(self, slots: int, decoding: Decoding, stop_ids: Collection[int], device: torch.device) -> None:
        beams, steps = decoding.num_beams, decoding.max_new_tokens
        self.steps, self.beams = steps, beams
        self.candidates = max(2, 1 + len(stop_ids)) * beams
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
        # Divisors of a score by the length that it is reached with.
        lengths = [float(n**decoding.length_penalty) for n in range(1, steps + 1)]
        self.penalty = torch.tensor(lengths, dtype=torch.float32, device=device)
        self.top = torch.arange(self.candidates, device=device) < beams
        self.step = torch.zeros(slots, dtype=torch.long, device=device)
        self.scores = torch.zeros(slots, beams, device=device)
        self.tokens = torch.zeros(slots, beams, steps, dtype=torch.long, device=device)
        self.kept_scores = torch.zeros(slots, beams, device=device)
        self.kept = torch.zeros(slots, beams, steps, dtype=torch.long, device=device)
        self.kept_length = torch.zeros(slots, beams, dtype=torch.long, device=device)
        self.finished = torch.zeros(slots, beams, dtype=torch.bool, device=device)
        self.improving = torch.zeros(slots, 1, dtype=torch.bool, device=device)
        self.over = torch.ones(slots, 1, dtype=torch.bool, device=device)

    def tensors(self) -> tuple[Tensor, ...]:
        """All state, slots first."""
        kept = (self.kept_scores, self.kept, self.kept_length, self.finished)
        return self.step, self.scores, self.tokens, *kept, self.improving, self.over

    def start(self, at: Tensor, branch: Tensor, keys: Sequence[str]) -> None:  # noqa: ARG002
        """Begin anew in these slots [n]; only the first beam counts in the first step, as all are the same."""
        self.step[at] = 0
        self.scores[at] = sent([0.0] + [NEVER] * (self.beams - 1), self.scores.device)
        self.kept_scores[at] = NEVER
        self.kept_length[at] = 0
        self.finished[at] = False
        self.improving[at] = True
        self.over[at] = False

    def choose(self, logits: Tensor, live: int) -> tuple[Tensor, Tensor]:
        """Next ids of the first `live` slots, and the beam that each goes on from.

        [live * b, v] float32 -> [live, b], [live, b].
        """
        step = self.step[:live]
        now = step.clamp_max(self.steps - 1)
        top, parent, ids = self._candidates(logits, live)
        longer = _pick(self.tokens[:live], parent)
        longer.scatter_(2, now[:, None, None].expand(-1, self.candidates, 1), ids[..., None])
        ends = (ids[..., None] == self.stops).any(-1) | (step + 1 >= self.steps)[:, None]
        self._finish(live, top, longer, ends, now)
        running = top + ends.to(torch.float32) * NEVER
        order = running.topk(self.beams)[1]
        self.tokens[:live] = _pick(longer, order)
        self.scores[:live] = running.gather(1, order)
        step.add_(1)
        self._close(live, now)
        return ids.gather(1, order), parent.gather(1, order)

    def _candidates(self, logits: Tensor, live: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of all beams: scores, beams and ids, each [live, k]."""
        vocabulary = logits.shape[-1]
        sums = logits.log_softmax(-1).view(live, self.beams, vocabulary) + self.scores[:live, :, None]
        top, at = sums.view(live, -1).topk(self.candidates)
        return top, at // vocabulary, at % vocabulary

    def _finish(self, live: int, top: Tensor, longer: Tensor, ends: Tensor, now: Tensor) -> None:
        """Keep the best of what was finished before and what ends now among the first `b` candidates."""
        ending = ends & self.top
        scores = top / self.penalty[now][:, None]
        scores = scores + (~self.improving[:live]).to(torch.float32) * NEVER
        scores = scores + (~ending).to(torch.float32) * NEVER
        merged = torch.cat((self.kept_scores[:live], scores), 1)
        best = merged.topk(self.beams)[1]
        lengths = torch.cat((self.kept_length[:live], (now + 1)[:, None].expand_as(ending)), 1)
        self.kept[:live] = _pick(torch.cat((self.kept[:live], longer), 1), best)
        self.kept_length[:live] = lengths.gather(1, best)
        self.finished[:live] = torch.cat((self.finished[:live], ending), 1).gather(1, best)
        self.kept_scores[:live] = merged.gather(1, best)

    def _close(self, live: int, now: Tensor) -> None:
        """Find the slots where no running beam can become better than the worst finished one, or no step is left."""
        possible = self.scores[:live, :1] / self.penalty[now][:, None]
        worst = torch.where(self.finished[:live], self.kept_scores[:live].amin(1, keepdim=True), NEVER)
        improving = self.improving[:live]
        improving.logical_and_((possible > worst).any(1, keepdim=True))
        improving.logical_and_((self.step[:live] < self.steps)[:, None])
        self.over[:live] = ~improving

    def ended(self, places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """The best finished beam of each slot (of slot, row), and its length, end symbol included: [n, t], [n]."""
        at = sent([slot for slot, _ in places], self.step.device)
        return self.kept[at, 0], self.kept_length[at, 0]


def _pick(rows: Tensor, order: Tensor) -> Tensor:
    """Rows of each slot by number: [s, n, t], [s, k] -> [s, k, t]."""
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))
