"""Probes within a run: when they are made, what of them is kept, and when they end it.

A probe is on disk before the checkpoint of its step, and a decision is a function of the probes up to its step. So a
run that was killed meets every probe that it made again, makes none twice, and decides as it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from common.errors import DataError
from common.paths import display
from common.processes import is_first
from common.progress import announce
from finetune.probe.choice import Bounds, Turn, Verdict, place, verdict
from finetune.probe.figure import draw
from finetune.probe.history import read_probes, write_probes
from finetune.probe.measure import Measure
from finetune.run.folder import RunFolder

# Of what was before, with which a run goes on after a turn. A third of ten times the negatives still costs recall, and
# a third of the rate is too little for a short run (finetune/README.md).
RATE, NEGATIVES = 1 / 2, 1 / 10


class Probes(Protocol):
    """What measures; :class:`finetune.probe.prober.Prober` is one."""

    seconds: list[float]

    def measure(self, step: int) -> Measure:
        """The figures of the model as it is now."""


@dataclass(frozen=True)
class ProbePlan:
    """When there are probes, and what they decide.

    Attributes:
        between: steps between two probes.
        bounds: what the best probe must keep; None: the last step is kept, and nothing ends the run early.
        patience: probes without a better one that end it.
        retreats: how often a broken bound sends the run back to the best weights.
    """

    between: int
    bounds: Bounds | None
    patience: int
    retreats: int = 0

    def is_due(self, step: int, last: int) -> bool:
        """Whether there is a probe after this step."""
        return step % self.between == 0 or step >= last


@dataclass(eq=False)
class Probing(TrainerCallback):
    """Makes the probes of a run.

    Args:
        prober: measures. positives: mean loss of positive spans of validation images, and of training images.
        folder: of the run.
        log: writes a line of values.
        save: writes the weights as they are now into a folder; restore: lays those of a folder over the model.
        settle: sees to it that all steps so far were good.
        forget: makes the optimizer a new one, which remembers no gradient.
    """

    plan: ProbePlan
    prober: Probes
    positives: Callable[[], tuple[float | None, float | None]]
    folder: RunFolder
    log: Callable[[dict[str, float]], None]
    save: Callable[[Path], None]
    restore: Callable[[Path], object]
    settle: Callable[[], None]
    forget: Callable[[], None]
    known: dict[int, Measure] = field(default_factory=dict)

    def recall(self) -> None:
        """Read the probes that a killed run made; when the folder is ready, as all processes must read the same."""
        self.known = read_probes(self.folder.probes)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Before the first step."""
        if state.global_step == 0:
            self._probe(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Every so often, and after the last step."""
        if self.plan.is_due(state.global_step, state.max_steps):
            self._probe(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """What looks at the model from now on sees the weights that are kept."""
        self.settle()
        self.put_best_back(state.global_step)

    def put_best_back(self, step: int) -> None:
        """Lay the best weights up to a step over the model, in the process that saves them, where the best are kept.

        Raises DataError if they are gone.
        """
        reached = self.reached(step)
        if reached is None or not is_first():
            return
        self.restore(self.folder.held_best(reached.best.step))

    def _probe(self, state: Any, control: Any) -> None:
        step = state.global_step
        self.settle()
        known = self.known.get(step)
        found = known or self._measure(step)
        if step == 0 and found.share is None:
            raise DataError(
                f"the model names no object in its {found.captions} captions of validation images, so a probe finds "
                "nothing; leave out --probe_steps and --keep best, or give more images with --probe_images"
            )
        self.known[step] = found
        if known is None:
            self._keep(found)
        due = control.should_log
        self.log(found.logged())
        control.should_log = due  # the library takes any line for that of the losses
        reached = self.reached(step)
        if reached is not None and reached.stop is not None:
            control.should_training_stop = control.should_save = True
        elif reached is not None and reached.turns and reached.turns[-1].step == step:
            self._turn(reached.turns[-1])
            control.should_save = True  # so that no later run has to find these weights again

    def _measure(self, step: int) -> Measure:
        held_out, trained = self.positives()
        return replace(self.prober.measure(step), positive_loss=held_out, trained_loss=trained)

    def _turn(self, turn: Turn) -> None:
        """Say what is less from now on; in every process go back, if it is to be so."""
        less = "negatives weigh a tenth of before" if turn.negatives else "the learning rate is half of before"
        if turn.back is None:
            announce(f"step {turn.step}: {self.plan.patience} probes without a lower share; {less}")
            return
        self._retreat(turn.back)
        announce(f"step {turn.step} breaks a bound: back to the weights of step {turn.back}, {less}")

    def _retreat(self, best: int) -> None:
        """The best weights, and an optimizer that does not pull away from them at once."""
        self.restore(self.folder.held_best(best))
        self.forget()

    def place(self, step: int, steps: int) -> float:
        """Where the schedules of a run of so many steps are at a step: with the weights they go back, too."""
        return place(self._turns(step), step, steps)

    def of_negatives(self, step: int) -> float:
        """What the weight of the negatives is multiplied by in the step after so many."""
        return float(NEGATIVES ** sum(turn.negatives for turn in self._turns(step)))

    def of_rate(self, step: int) -> float:
        """The same for the learning rate."""
        return float(RATE ** sum(not turn.negatives for turn in self._turns(step)))

    def _turns(self, step: int) -> Sequence[Turn]:
        reached = self.reached(step) if self.known else None
        return reached.turns if reached else ()

    def _keep(self, found: Measure) -> None:
        """Write a new probe: the weights first, if it is the best, then its line, then what is no longer the best."""
        reached = self.reached(found.step)
        if not is_first():
            return
        if reached is not None and reached.best.step == found.step:
            self.folder.add_best(found.step, self.save)
        write_probes(self.folder.probes, self.known.values())
        if reached is not None:
            self.folder.keep_best(reached.best.step)

    def reached(self, step: int) -> Verdict | None:
        """What the probes up to a step say; None where the last step is kept."""
        if self.plan.bounds is None:
            return None
        return verdict(self.until(step), self.plan.bounds, self.plan.patience, self.plan.retreats)

    def until(self, step: int) -> list[Measure]:
        """The probes up to a step. Raises DataError if the first is gone."""
        if 0 not in self.known:
            raise DataError(f"{display(self.folder.probes)} does not hold the first probe; use --restart")
        return [self.known[one] for one in sorted(self.known) if one <= step]

    def ended_at(self, step: int) -> bool:
        """Whether the probe at a step ended the run."""
        reached = self.reached(step)
        return step in self.known and reached is not None and reached.stop is not None

    def finish(self, step: int, steps: int) -> None:
        """Say what is kept and why the run stopped, and draw; for the first process."""
        reached = self.reached(step)
        announce(self._words(step, steps))
        announce(f"{len(self.prober.seconds)} probes took {sum(self.prober.seconds):.1f} s")
        draw(self.folder.path, self.until(step), reached.best.step if reached else step, self.plan.bounds)

    def _words(self, step: int, steps: int) -> str:
        reached, probes = self.reached(step), self.until(step)
        first, last = probes[0], probes[-1]
        if reached is None:
            return f"probe: low mentions {_percent(first)} before training, {_percent(last)} after"
        early = reached.stop if step < steps else None
        why = f"ended at step {step} of {steps}: {early}" if early else f"all {steps} steps done"
        if reached.retreats:
            why += f"; went back {len(reached.retreats)} times, after step {', '.join(map(str, reached.retreats))}"
        best = reached.best
        if best.step == 0:
            return f"{why}; no probe was better than the start ({_percent(first)} low mentions), whose weights are kept"
        return (
            f"{why}; kept step {best.step}: low mentions {_percent(first)} -> {_percent(best)}, grounded objects "
            f"{first.grounded:.2f} -> {best.grounded:.2f}, words {first.words:.1f} -> {best.words:.1f}, naming "
            f"something twice {first.repetition:.0%} -> {best.repetition:.0%}"
        )

    def notes(self, step: int, steps: int) -> dict[str, Any]:
        """For the manifest."""
        reached = self.reached(step)
        return {
            "kept_step": reached.best.step if reached else step,
            "stopped": self._words(step, steps),
            "steps_between": self.plan.between,
            "retreats": reached.retreats if reached else [],
            "probes": [probe.to_json() for probe in self.until(step)],
            "seconds": self.prober.seconds,
        }


def _percent(probe: Measure) -> str:
    return "none" if probe.share is None else f"{100 * probe.share:.1f} %"
