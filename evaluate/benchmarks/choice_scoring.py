"""One result for the benchmarks whose score is accuracy: GQA, ScienceQA, Q-Bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common.files.records import Result
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.benchmark import Groups, about
from evaluate.metrics import choice
from evaluate.metrics.choice import ChoiceVerdict
from evaluate.results.scoring import scored, units_json

Judge = Callable[[Question, str], tuple[bool, bool]]  # right, unparseable
Grouping = Callable[[Question], tuple[str, ...]]


def verdict(question: Question, answer: str | None, judge: Judge, grouping: Grouping) -> ChoiceVerdict:
    """Judge one question; without an answer it is wrong and missing."""
    if answer is None:
        return ChoiceVerdict(False, missing=True, groups=grouping(question))
    right, unparseable = judge(question, answer)
    return ChoiceVerdict(right, unparseable, groups=grouping(question))


def score_choices(
    joined: Joined,
    judge: Judge,
    grouping: Grouping,
    groups: Sequence[str],
    names: tuple[str, str, str],
    settings: Groups,
    **more: Any,
) -> Result:
    """Accuracy over all questions and over each of `groups` that occurs.

    Args:
        judge: whether an answer is right, and whether it could not be read.
        names: task, definition and version.
        settings: the script's argument groups.
        more: further entries of the manifest.
    """
    verdicts = [verdict(q, answer, judge, grouping) for q, answer in joined.pairs]
    present = [group for group in groups if any(group in v.groups for v in verdicts)]
    keys = [q.key for q, _ in joined.pairs]
    units = choice.question_units(keys, verdicts, present)
    scores, bounds = scored(units, choice.formulas(present), settings[3].seed)
    totals = units.sums()
    counts = {name: int(totals[name]) for name in ("questions", "right", "unparseable", "missing")}
    counts |= {
        f"{group}_{what}": int(totals[f"{group}:{what}"]) for group in present for what in ("questions", "right")
    }
    task, definition, version = names
    return Result(
        task=task,
        definition=definition,
        version=version,
        n=len(keys),
        scores=scores,
        intervals=bounds,
        counts=joined.counts() | counts,
        manifest=about(settings, joined, **more),
        units=units_json(units),
    )
