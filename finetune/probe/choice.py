"""Which probe is the best, when a run goes back to it, and when it has gone on long enough: a function of the probes so
far and nothing else.

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
    """What the probes so far say.

    Attributes:
        best: of them; stop: why there need be no more, None while the run goes on.
        retreats: steps after which the run went back to the weights that were the best by then.
    """

    best: Measure
    stop: str | None
    retreats: tuple[int, ...] = ()


def verdict(probes: Sequence[Measure], bounds: Bounds, patience: int, retreats: int = 0) -> Verdict:
    """The probe with the lowest share of low mentions among those that keep the bounds; of equal ones the earliest.

    The start is among them. A probe that breaks a bound sends the run back to the best, so many times at most, and the
    count of probes without a better one begins anew: from there it goes on another way. It is enough where the share
    is 0, or the last `patience` probes brought no better one.

    Args:
        probes: by step, the first before training, with at least one mention.
    """
    start = best = probes[0]
    since: list[Measure] = []
    back: list[int] = []
    for probe in probes[1:]:
        broken = bounds.broken(probe, start) is not None
        if not broken and _share(probe) < _share(best):
            best, since = probe, []
        elif broken and len(back) < retreats and _share(best) > 0:
            back.append(probe.step)
            since = []
        else:
            since.append(probe)
    return Verdict(best, _stop(best, since, bounds.broken(since[-1], start) if since else None, patience), tuple(back))


def _stop(best: Measure, since: Sequence[Measure], broken: str | None, patience: int) -> str | None:
    if _share(best) == 0:
        return f"no mention is below the threshold at step {best.step}, and none can be fewer"
    if len(since) < patience:
        return None
    why = f"; the last breaks {broken}" if broken else ""
    return f"{len(since)} probes after step {best.step} are no better{why}"


def _share(probe: Measure) -> float:
    """Without any mention there is nothing to praise."""
    return 1.0 if probe.share is None else probe.share
