"""Which probe is kept, when a run goes back to it, and when it has gone on long enough: a function of the probes so
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
    """What a probe must keep of the start to be kept itself.

    Attributes:
        object_loss: share of the grounded objects a caption that may be lost; word_loss: of the words.
        repetition: by how much the share of captions that name something twice may rise.
        positive_rise: share by which the loss of positive spans may rise.
    """

    object_loss: float
    word_loss: float
    repetition: float
    positive_rise: float

    def broken(self, now: Measure, start: Measure) -> str | None:
        """The flag of the first bound that a probe breaks, with the figures; None if it keeps all."""
        if _rose(now.positive_loss, start.positive_loss, self.positive_rise):
            figures = f"loss {now.positive_loss:.3f}, {start.positive_loss:.3f} at the start"
            return f"--probe_max_positive_rise {self.positive_rise:g} ({figures})"
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


def _rose(now: float | None, then: float | None, share: float) -> bool:
    return now is not None and then is not None and now > (1 + share) * then


@dataclass(frozen=True)
class Turn:
    """After which step a run goes on more carefully.

    Attributes:
        back: the step of the best weights, from which it does; None: from where it is.
        negatives: whether they weigh a tenth of before; else the learning rate is half of before.
    """

    step: int
    back: int | None = None
    negatives: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the probes so far say.

    Attributes:
        best: of them; stop: why there need be no more, None while the run goes on.
        turns: after which steps the run went on more carefully.
    """

    best: Measure
    stop: str | None
    turns: tuple[Turn, ...] = ()

    @property
    def retreats(self) -> list[int]:
        """Steps after which the run went back to the weights that were the best by then."""
        return [turn.step for turn in self.turns if turn.back is not None]


def place(turns: Sequence[Turn], step: int, steps: int) -> float:
    """Where a run of so many steps is in its schedules: where the weights went back, these did, too.

    What was left of them is spread over the steps that are left.
    """
    for turn in reversed(turns):
        if turn.back is not None and turn.step <= step:
            begun = place(turns, turn.back, steps)
            return begun + (step - turn.step) * (steps - begun) / max(1, steps - turn.step)
    return step


def verdict(probes: Sequence[Measure], bounds: Bounds, patience: int, retreats: int = 0) -> Verdict:
    """The latest of the probes that keep the bounds and whose share of low mentions is the lowest, but for chance.

    That is: at most a standard deviation above the lowest; what came later is further annealed. The start is kept only
    if none is lower. A probe that breaks a bound sends the run back to the best, so many times at most, and the count
    of probes without a lower one begins anew: from there it goes on another way. It is enough where the share is 0, or
    the last `patience` probes brought no lower one, and half of the rate did not either.

    What was too much shows in what is trained on. If there, too, positive spans have become less likely, or gained less
    than they lost in what is held out, the negatives pull too hard; if they gained more, steps are too large, or too
    many, for what was mined. Negatives are blamed once: a tenth of a tenth would leave nothing to unlearn with.

    Args:
        probes: by step, the first before training, with at least one mention.
    """
    start = best = lowest = probes[0]
    marked = 0  # the probe of the last lower share, or of the last turn
    turns: list[Turn] = []
    for number, probe in enumerate(probes[1:], start=1):
        broken = bounds.broken(probe, start) is not None
        if not broken and _share(probe) < _share(lowest):
            best = lowest = probe
            marked = number
        elif broken and len(turns) < retreats and _share(lowest) > 0:
            blamed = any(turn.negatives for turn in turns)
            negatives = not blamed and _lost_positives(probe, start)
            turns.append(Turn(probe.step, back=best.step, negatives=negatives))
            marked = number
        elif not broken and lowest is not start and _share(probe) <= _share(lowest) + lowest.chance:
            best = probe
        if number - marked >= patience and len(turns) < retreats and all(turn.back is not None for turn in turns):
            turns.append(Turn(probe.step))
            marked = number
    return Verdict(best, _stop(lowest, probes, marked, patience, bounds), tuple(turns))


def _lost_positives(now: Measure, start: Measure) -> bool:
    """Whether the losses of positive spans rose, held out and trained on together, each as a share of its start."""
    pairs = ((now.positive_loss, start.positive_loss), (now.trained_loss, start.trained_loss))
    known = [(n, s) for n, s in pairs if n is not None and s]
    return bool(known) and sum(n / s - 1 for n, s in known) > 0


def _stop(lowest: Measure, probes: Sequence[Measure], marked: int, patience: int, bounds: Bounds) -> str | None:
    if _share(lowest) == 0:
        return f"no mention is below the threshold at step {lowest.step}, and none can be fewer"
    in_vain = len(probes) - 1 - marked
    if in_vain < patience:
        return None
    broken = bounds.broken(probes[-1], probes[0])
    why = f"; the last breaks {broken}" if broken else ""
    return f"{in_vain} probes after step {probes[marked].step} have no lower share{why}"


def _share(probe: Measure) -> float:
    """Without any mention there is nothing to praise."""
    return 1.0 if probe.share is None else probe.share
