"""Multiple choice: accuracy over questions, an answer that names no choice is wrong; shared by GQA too.

How a choice is read out of an answer is the benchmark's own: `metrics.scienceqa`, `metrics.qbench`, `metrics.gqa`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.metrics.stats import Formula, Units, ratio


@dataclass(frozen=True)
class ChoiceVerdict:
    """One question: whether it is right, readable and answered at all, and the groups that it belongs to."""

    right: bool
    unparseable: bool = False
    missing: bool = False
    groups: tuple[str, ...] = ()


def question_units(ids: Sequence[str], verdicts: Iterable[ChoiceVerdict], groups: Sequence[str] = ()) -> Units:
    """The counts of each question, and of each group its own."""
    names: tuple[str, ...] = ("questions", "right", "unparseable", "missing")
    names += tuple(f"{group}:{what}" for group in groups for what in ("questions", "right"))
    rows = []
    for verdict in verdicts:
        row: list[int] = [1, int(verdict.right), int(verdict.unparseable), int(verdict.missing)]
        for group in groups:
            member = group in verdict.groups
            row += [int(member), int(member and verdict.right)]
        rows.append(row)
    return Units(tuple(ids), names, np.array(rows, dtype=np.float64).reshape(len(rows), len(names)))


def formulas(groups: Sequence[str] = ()) -> Mapping[str, Formula]:
    """`accuracy`, `accuracy_{group}` and the unparseable share."""
    found = {"accuracy": ratio("right", "questions")}
    found |= {f"accuracy_{group}": ratio(f"{group}:right", f"{group}:questions") for group in groups}
    return found | {"unparseable": ratio("unparseable", "questions")}
