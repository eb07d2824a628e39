"""MME: two yes/no questions an image. Subtask score = 100 accuracy + 100 share of images with both right (0-200).

Perception is the sum of ten subtasks (2000 at most), cognition of four (800). Unreadable answers are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.metrics.stats import Array, Formula, Sums, Units, divide

VERSION = "mme-1"
PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SUBTASKS = PERCEPTION + COGNITION


@dataclass(frozen=True)
class ImageVerdict:
    """The two questions of an image: which answers are right, how many could not be read, how many are missing."""

    subtask: str
    right: tuple[bool, bool]
    unparseable: int = 0
    missing: int = 0


def columns(subtasks: Sequence[str]) -> tuple[str, ...]:
    """Names of the counts: three a subtask, then the totals."""
    own = [f"{s}:{what}" for s in subtasks for what in ("images", "right", "both")]
    return (*own, "questions", "unparseable", "missing")


def image_units(ids: Sequence[str], verdicts: Iterable[ImageVerdict], subtasks: Sequence[str]) -> Units:
    """The counts of each image."""
    names = columns(subtasks)
    rows = []
    for verdict in verdicts:
        row = dict.fromkeys(names, 0)
        row[f"{verdict.subtask}:images"] = 1
        row[f"{verdict.subtask}:right"] = sum(verdict.right)
        row[f"{verdict.subtask}:both"] = int(all(verdict.right))
        row |= {"questions": 2, "unparseable": verdict.unparseable, "missing": verdict.missing}
        rows.append(list(row.values()))
    return Units(tuple(ids), names, np.array(rows, dtype=np.float64).reshape(len(rows), len(names)))


def subtask_score(subtask: str) -> Formula:
    """100 accuracy + 100 both-right share of one subtask; 0 where it has no images."""

    def score(sums: Sums) -> Array:
        """The score from summed counts."""
        images = sums[f"{subtask}:images"]
        return 100 * (divide(sums[f"{subtask}:right"], 2 * images) + divide(sums[f"{subtask}:both"], images))

    return score


def formulas(subtasks: Sequence[str]) -> Mapping[str, Formula]:
    """Score of each subtask present, and the sums over perception and cognition where any of theirs is."""
    own = {s: subtask_score(s) for s in subtasks}
    groups = {"perception": PERCEPTION, "cognition": COGNITION}
    found: dict[str, Formula] = {}
    for name, members in groups.items():
        present = [own[s] for s in members if s in own]
        if present:
            found[name] = _total(present)
    found |= own
    found["unparseable"] = lambda sums: divide(sums["unparseable"], sums["questions"])
    return found


def _total(parts: Sequence[Formula]) -> Formula:
    return lambda sums: np.asarray(sum(part(sums) for part in parts))
