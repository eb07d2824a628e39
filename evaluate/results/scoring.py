"""From counts to a :class:`common.files.records.Result`, its JSON file and its table: one way for every benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import plain
from common.files.records import Result
from common.progress import say
from evaluate.metrics.mme import SUBTASKS
from evaluate.metrics.stats import Formula, Units, intervals, point_scores
from evaluate.results.outputs import write_result

POINTS = {*SUBTASKS, "perception", "cognition", "perplexity", "tp", "fp", "tn", "fn"}  # no rates


def scored(units: Units, formulas: Mapping[str, Formula], seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Scores and their bootstrap intervals."""
    return point_scores(units, formulas), intervals(units, formulas, seed)


def units_json(units: Units) -> dict[str, Any]:
    """Counts of each unit for `Result.units`; whole numbers are written as such."""
    rows = [[int(v) if float(v).is_integer() else float(v) for v in row] for row in units.counts.tolist()]
    clusters = {"clusters": list(units.clusters)} if units.clusters else {}
    return {"columns": list(units.columns), "ids": list(units.ids), **clusters, "counts": rows}


def number(name: str, value: float) -> str:
    """A score as text: rates in percent, lengths and MME's points as they are."""
    if "per_" in name or name == "words" or name in POINTS or name.startswith("paper_distinct"):
        return f"{value:.2f}"
    return f"{100 * value:.2f} %"


def table(result: Result) -> str:
    """The scores with intervals, and the counts, as lines for the terminal."""
    lines = [f"{result.task} ({result.definition}, version {result.version}), {result.n} items"]
    for name, value in result.scores.items():
        line = f"  {name:24} {number(name, value):>10}"
        if name in result.intervals:
            low, high = result.intervals[name]
            line += f"   [{number(name, low)}, {number(name, high)}]"
        lines.append(line)
    for split, scores in (result.splits or {}).items():
        lines.append(
            f"  {plain(split, 80)}: " + ", ".join(f"{name} {number(name, value)}" for name, value in scores.items())
        )
    lines.append("  counts: " + ", ".join(f"{name} {count}" for name, count in result.counts.items()))
    return "\n".join(lines)


def publish(result: Result, result_path: str | Path | None) -> None:
    """Print the table and, where a path was given, write the JSON."""
    say(table(result))
    if result_path is not None:
        write_result(result_path, result.to_json())
