"""POPE: is an object in the image? Positive class "yes"; accuracy, precision, recall, F1 and the share of yes answers.

An answer that the parser cannot read, and a question without answer, is wrong: it counts as the class that the label
is not, so that accuracy and recall fall, but it is no "yes" prediction for precision and the yes share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.metrics.stats import Array, Formula, Sums, Units, divide, ratio
from evaluate.metrics.yes_no import Parser, YesNo, strict

VERSION = "pope-2"
COLUMNS = ("questions", "tp", "fp", "tn", "fn", "unparseable", "missing", "neither_yes_nor_no")


@dataclass(frozen=True)
class Verdict:
    """One question: its label and what was answered (None: not given or not readable)."""

    label: YesNo
    predicted: YesNo | None
    missing: bool = False
    neither: bool = False

    def row(self) -> tuple[int, ...]:
        """The counts of this question, ordered as COLUMNS."""
        yes_label, yes = self.label == "yes", self.predicted == "yes"
        unread = self.predicted is None and not self.missing
        hits = (
            yes_label and yes,
            not yes_label and yes,
            not yes_label and self.predicted == "no",
            yes_label and not yes,
        )
        return (1, *map(int, hits), int(unread), int(self.missing), int(self.neither))


def judge(label: YesNo, answer: str | None, parser: Parser) -> Verdict:
    """Read one answer. `neither` marks answers without a clear yes or no, whatever the parser makes of them."""
    if answer is None:
        return Verdict(label, None, missing=True)
    return Verdict(label, parser(answer), neither=strict(answer) is None)


def question_units(ids: Sequence[str], verdicts: Iterable[Verdict], images: Sequence[str] = ()) -> Units:
    """The counts of each question; questions of one image are drawn together."""
    rows = [v.row() for v in verdicts]
    counts = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    return Units(tuple(ids), COLUMNS, counts, tuple(images))


def _f1(sums: Sums) -> Array:
    return divide(2 * sums["tp"], 2 * sums["tp"] + sums["fp"] + sums["fn"])


FORMULAS: Mapping[str, Formula] = {
    "accuracy": lambda s: divide(s["tp"] + s["tn"], s["questions"]),
    "precision": lambda s: divide(s["tp"], s["tp"] + s["fp"]),
    "recall": lambda s: divide(s["tp"], s["tp"] + s["fn"]),
    "f1": _f1,
    "yes_rate": lambda s: divide(s["tp"] + s["fp"], s["questions"]),
    "unparseable": ratio("unparseable", "questions"),
}
