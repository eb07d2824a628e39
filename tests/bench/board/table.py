"""Tables of the leaderboard: levels, differences to the base model, and how far from its goals a recipe is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

BASE = "base"
SCORES = ("chair_s", "chair_i", "recall", "words", "bleu_4", "repetition")
POINTS = {"words"}
Cell = Callable[[Sequence[Mapping[str, Any]], str], str]


def cell(name: str, values: Sequence[float]) -> str:
    """Mean, least and most."""
    scale = 1.0 if name in POINTS else 100.0
    average, least, most = (scale * value for value in (mean(values), min(values), max(values)))
    return f"{average:.1f} [{least:.1f}, {most:.1f}]"


def against_base(rows: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]], name: str) -> str:
    """Mean difference to the base model of the same world, with the 95 % t interval over the runs; or nothing."""
    from scipy.stats import t

    scale = 1.0 if name in POINTS else 100.0
    pairs = [(row, base[row["world"]]) for row in rows if row["world"] in base]
    differences = [scale * (row[name] - other[name]) for row, other in pairs if name in row and name in other]
    if not differences:
        return ""
    average, n = mean(differences), len(differences)
    if n < 2:
        return f"{average:+.1f}"
    spread = (sum((d - average) ** 2 for d in differences) / (n - 1) / n) ** 0.5
    half = float(t.ppf(0.975, n - 1)) * spread
    return f"{average:+.1f} [{average - half:+.1f}, {average + half:+.1f}]"


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Scores that are shown."""
    return [*SCORES, *(["pope_f1"] if any("pope_f1" in row for row in rows) else [])]


def lines_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str], cell_of: Cell, head: str) -> list[str]:
    """One line a recipe and AUROC, under a head; `cell_of` makes a cell of the runs and the name of a score."""
    columns = columns_of(rows)
    lines = [f"| {head} | AUROC | runs | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 3)]
    for name in names:
        for blur in sorted({row["auroc"] for row in rows if row["recipe"] == name}):
            chosen = [row for row in rows if row["recipe"] == name and row["auroc"] == blur]
            cells = [cell_of([row for row in chosen if column in row], column) for column in columns]
            lines.append(f"| {name} | {f'{blur:g}' if blur else 'as it is'} | {len(chosen)} | {' | '.join(cells)} |")
    return lines


@dataclass(frozen=True)
class Goal:
    """What a recipe may cost at most: of all its runs, as a multiple of this.

    Attributes:
        name: of the goal. of: from a run and the base model of its world to what it costs; worst: of the runs the most
            counts, else the mean.
    """

    name: str
    of: Callable[[Mapping[str, Any], Mapping[str, Any]], float]
    worst: bool = False

    def ratio(self, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> float:
        """1 where the goal is just reached."""
        costs = [self.of(row, base) for row, base in pairs]
        return max(costs) if self.worst else mean(costs)


GOALS = (
    Goal("CHAIR_S, mean 3 %", lambda row, _: row["chair_s"] / 0.03),
    Goal("CHAIR_S, worst 6 %", lambda row, _: row["chair_s"] / 0.06, worst=True),
    Goal("CHAIR_I, mean 1 %", lambda row, _: row["chair_i"] / 0.01),
    Goal("recall, 1 point lower", lambda row, base: (base["recall"] - row["recall"]) / 0.01),
    Goal("recall, worst 2 points", lambda row, base: (base["recall"] - row["recall"]) / 0.02, worst=True),
    Goal("words, a quarter fewer", lambda row, base: (1 - row["words"] / base["words"]) / 0.25),
    Goal("repetition, 5 points more", lambda row, base: (row["repetition"] - base["repetition"]) / 0.05),
    Goal("POPE F1, within the base's interval", lambda row, base: _pope_fall(row, base)),
)


def _pope_fall(row: Mapping[str, Any], base: Mapping[str, Any]) -> float:
    """In half widths of the base model's interval; 0 where it was not asked."""
    if "pope_f1" not in row or "pope_f1" not in base:
        return 0.0
    return float((base["pope_f1"] - row["pope_f1"]) / (base["pope_f1"] - base["pope_f1_low"]))


def goal_lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """One line a recipe, the best first: which goal it is furthest from, by which factor; up to 1 all are reached."""
    base = {row["world"]: row for row in rows if row["recipe"] == BASE}
    found = []
    for name in names:
        for blur in sorted({row["auroc"] for row in rows if row["recipe"] == name}):
            chosen = [row for row in rows if (row["recipe"], row["auroc"]) == (name, blur)]
            pairs = [(row, base[row["world"]]) for row in chosen if row["world"] in base]
            if pairs:
                ratio, goal = max((goal.ratio(pairs), goal.name) for goal in GOALS)
                found.append((ratio, f"{ratio:5.2f}  {name}{f' at {blur:g}' if blur else ''}: {goal}"))
    return [line for _, line in sorted(found)]


def table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Mean [least, most] over worlds and orders, in percent; then differences to the base model, world by world."""
    base = {row["world"]: row for row in rows if row["recipe"] == BASE}
    levels = lines_of(rows, names, lambda runs, name: cell(name, [r[name] for r in runs]) if runs else "", "recipe")
    others = [name for name in names if name != BASE]
    paired = lines_of(rows, others, lambda runs, name: against_base(runs, base, name), "against base")
    goals = ["worst ratio to the goals (finetune/README.md):", *goal_lines(rows, others)]
    return "\n".join([*levels, "", *paired, "", *goals])
