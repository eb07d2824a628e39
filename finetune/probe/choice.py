"""Which probe is the best, and when a run has gone on long enough: a function of the probes so far and nothing else.

So a run that was killed decides again as it did, and every process of a launch decides alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune.probe.measure import Measure


@dataclass(frozen=True)
class Bounds:
    """What the best probe must keep of the start.

    Attributes:
        object_loss: share of the grounded objects a caption that may be lost; word_loss: of the words.
        repetition: by how much the share of captions that name something twice may rise.
    """

    object_loss: float
    word_loss: float
    repetition: float

    def broken(self, now: Measure, start: Measure) -> str | None:
        """The flag whose bound a probe breaks, with the figures; None if it keeps all."""
        had, has = (start.grounded, now.grounded) if start.grounded else (start.objects, now.objects)
        if has < (1 - self.object_loss) * had:
            return f"--probe_max_object_loss {self.object_loss:g} ({has:.2f} objects a caption, {had:.2f} at the start)"
        if now.words < (1 - self.word_loss) * start.words:
            return f"--probe_max_word_loss {self.word_loss:g} ({now.words:.1f} words, {start.words:.1f} at the start)"
        if now.repetition > start.repetition + self.repetition:
            return (
                f"--probe_max_repetition {self.repetition:g} ({now.repetition:.0%} of the captions name something "
                f"twice, {start.repetition:.0%} at the start)"
            )
        return None


@dataclass(frozen=True)
class Verdict:
    """The best of the probes so far, and why there need be no more; None while the run goes on."""

    best: Measure
    stop: str | None


def verdict(probes: Sequence[Measure], bounds: Bounds, patience: int) -> Verdict:
    """The probe with the lowest share of low mentions among those that keep the bounds; of equal ones the earliest.

    The start is among them. It is enough where the share is 0, or the last `patience` probes brought no better one.

    Args:
        probes: by step, the first before training, with at least one mention.
    """
    start = best = probes[0]
    since: list[Measure] = []
    for probe in probes[1:]:
        if bounds.broken(probe, start) is None and _share(probe) < _share(best):
            best, since = probe, []
        else:
            since.append(probe)
    if _share(best) == 0:
        return Verdict(best, f"no mention is below the threshold at step {best.step}, and none can be fewer")
    if len(since) < patience:
        return Verdict(best, None)
    broken = bounds.broken(since[-1], start)
    why = f"; the last breaks {broken}" if broken else ""
    return Verdict(best, f"{len(since)} probes after step {best.step} are no better{why}")


def _share(probe: Measure) -> float:
    """Without any mention there is nothing to praise."""
    return 1.0 if probe.share is None else probe.share
