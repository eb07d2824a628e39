"""Loss weights by name: `paper` as the paper states them, `release` as its published code has them.

A preset is data; single flags override single values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from common.errors import ArgumentError, suggestion
from common.thresholds import Thresholds
from finetune.corpus.records import GOLD, GOLD_SCORE, KINDS, NEG, POS
from finetune.objectives.schedules import Schedule, constant

NEVER = constant(0.0)


@dataclass(frozen=True)
class LossWeights:
    """Weight of each part of the loss over the run, and whether a sample's CLIP score multiplies its loss."""

    pos: Schedule
    neg: Schedule
    sent: Schedule
    gold: Schedule
    by_score: bool
    repair: Schedule = NEVER

    def schedule(self, kind: str) -> Schedule:
        """The schedule of one of `KINDS`."""
        found: Schedule = getattr(self, kind)
        return found

    def active(self) -> tuple[str, ...]:
        """Kinds that count at any step."""
        return tuple(kind for kind in KINDS if not self.schedule(kind).is_zero)

    def at(self, step: float, steps: int) -> dict[str, float]:
        """Weight of each kind at a step, or between two."""
        return {kind: self.schedule(kind).at(step, steps) for kind in KINDS}

    def sample_weight(self, kind: str, score: float, thresholds: Thresholds) -> float:
        """Factor of one sample: 1, or its score, for negatives (hallucinated + grounded threshold - score)."""
        if not self.by_score:
            return 1.0
        if kind == NEG:
            return thresholds.hallucinated + thresholds.grounded - score
        return GOLD_SCORE if kind == GOLD else score


PRESETS: Mapping[str, LossWeights] = {
    # L = L_pos + 0.3 L_neg + 0.2 L_sent, all constant.
    "paper": LossWeights(constant(1.0), constant(0.3), constant(0.2), constant(0.0), by_score=False),
    # Negative weight constant for 40 % of the steps, then to 0; positive halved over the run; sentences replaced by
    # instruction data.
    "release": LossWeights(Schedule(1.0, 0.5), Schedule(0.3, 0.0, 0.4), constant(0.0), constant(0.3), by_score=True),
}


@dataclass(frozen=True)
class StepDefaults:
    """Learning rate and images a step where none is given."""

    lr: float
    images: int


PUBLISHED_STEPS = StepDefaults(lr=1e-5, images=1)
MINI_STEPS = StepDefaults(lr=3e-4, images=32)  # a model of 4 M parameters: larger steps, and few of them


@dataclass(frozen=True)
class WeightOverrides:
    """Single values laid over a preset; None leaves the preset's.

    A start without an end (of a preset that is constant there) is a constant.
    """

    neg_w_start: float | None = None
    neg_w_end: float | None = None
    neg_w_start_step_pos: float | None = None
    neg_w_sched_type: str | None = None
    pos_w_start: float | None = None
    pos_w_end: float | None = None
    pos_w_start_step_pos: float | None = None
    pos_w_sched_type: str | None = None
    sent_w: float | None = None
    gold_w: float | None = None
    repair_w: float | None = None
    score_weights: bool | None = None

    def changed(self, kind: str, preset: Schedule) -> Schedule:
        """The preset's schedule of `pos` or `neg` with the given values."""
        start, end, begin, shape = (
            getattr(self, f"{kind}_w_{name}") for name in ("start", "end", "start_step_pos", "sched_type")
        )
        was_constant = preset.start == preset.end
        start = preset.start if start is None else start
        if end is None:
            end = start if was_constant else preset.end
        return Schedule(start, end, preset.begin if begin is None else begin, preset.shape if shape is None else shape)


def loss_weights(preset: str, given: WeightOverrides | None = None) -> LossWeights:
    """The weights of a preset with single values replaced. Raises ArgumentError for an unknown preset or bad value."""
    if preset not in PRESETS:
        raise ArgumentError(f"unknown preset {preset} (from --preset){suggestion(preset, list(PRESETS))}")
    base, given = PRESETS[preset], given or WeightOverrides()
    return replace(
        base,
        pos=given.changed(POS, base.pos),
        neg=given.changed(NEG, base.neg),
        sent=base.sent if given.sent_w is None else constant(given.sent_w),
        gold=base.gold if given.gold_w is None else constant(given.gold_w),
        repair=base.repair if given.repair_w is None else constant(given.repair_w),
        by_score=base.by_score if given.score_weights is None else given.score_weights,
    )
