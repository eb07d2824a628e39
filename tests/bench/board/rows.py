"""Runs of the leaderboard and their rows: one line of `rows.jsonl` a run, which says what the run was made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.json_text import shown_names
from common.files.storage import read_text, write_text
from common.paths import display
from common.progress import announce
from tests.bench.board.table import SCORES

MADE_OF = "made_of"  # of a row; rows of before this was noted lack it
ALL_OF_THEM = ("eval_images",)  # what all rows of a table must have in common, whatever their recipe


@dataclass(frozen=True)
class Run:
    """One line of the list: a recipe on a world in one order; `auroc` 0: scores as they are."""

    recipe: str
    world: int
    order: int
    auroc: float

    @property
    def name(self) -> str:
        """For its folder."""
        blur = f"-auroc{self.auroc:g}" if self.auroc else ""
        return f"{self.recipe}-world{self.world}-order{self.order}{blur}"


def key_of(row: Mapping[str, Any]) -> Run:
    """Which run a row is of."""
    return Run(row["recipe"], row["world"], row["order"], row["auroc"])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows so far; a last line that a killed process left unfinished is none, and is told.

    Raises DataError: a line that is no row, two rows of one run, rows that cannot stand in one table.
    """
    lines, torn = _lines(path)
    if torn:
        announce(f"{display(path)}: line {len(lines) + 1} is unfinished and counts for nothing; its run is still to do")
    rows = [_row(line, f"{display(path)}:{number}") for number, line in enumerate(lines, start=1)]
    seen: set[Run] = set()
    for row in rows:
        if key_of(row) in seen:
            raise DataError(f"{display(path)} holds the run {key_of(row).name} twice; take one of its lines out")
        seen.add(key_of(row))
    _check_alike(rows, path)
    return rows


def rows_of(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these recipes, which are there already. Raises DataError, with what makes them, if there is none."""
    rows = [row for row in read_rows(path) if row["recipe"] in names]
    if not rows:
        raise DataError(
            f"no row of {shown_names(names)} in {display(path)} (from --folder); they are made by the same command "
            "without --table"
        )
    return rows


def _lines(path: Path) -> tuple[list[str], str]:
    """Whole lines, and what is left of one that is not; a row that lacks only its line end is whole."""
    *lines, last = read_text(path).split("\n") if path.exists() else [""]
    try:
        return ([*lines, last], "") if last and _row(last, "") else (lines, "")
    except DataError:
        return lines, last


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        run = key_of(row)
        numbers = [run.world, run.order, run.auroc, *(row[name] for name in SCORES)]
    except (ValueError, KeyError, TypeError, RecursionError):
        numbers = [None]
    if not all(isinstance(number, int | float) for number in numbers):
        raise DataError(f"{where}: no row of the leaderboard; take the line out, or give another --folder")
    return dict(row)


def _check_alike(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Raise DataError where rows under one name were made of different things, or judged on other images."""
    first: dict[str, tuple[Run, Mapping[str, Any]]] = {}
    for row in rows:
        made = row.get(MADE_OF)
        if not isinstance(made, Mapping):
            continue
        shared = {name: made.get(name) for name in ALL_OF_THEM}
        for group, values in (("", shared), (row["recipe"], made)):
            other, noted = first.setdefault(group, (key_of(row), values))
            if found := difference(noted, values):
                raise DataError(
                    f"{display(path)}: {other.name} and {key_of(row).name} do not belong in one table: {found}; "
                    "keep them in two folders"
                )


def difference(noted: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting that differs, in words; POPE may be asked in some runs of a recipe only."""
    for name in dict.fromkeys((*noted, *now)):
        one, two = noted.get(name), now.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            if found := difference(one, two):
                return found
        elif one != two and not (name == "pope_images" and 0 in (one, two)):
            return f"{name} {_short(one)} and {_short(two)}"
    return None


def _short(value: Any) -> str:
    return str(value)[:60]


def check_done(rows: Sequence[Mapping[str, Any]], wanted: Mapping[Run, Mapping[str, Any]], path: Path) -> set[Run]:
    """The runs that have a row already, of what they would be made of now.

    Args:
        wanted: each run, and what it would be made of.

    Raises DataError for a row made of something else. Rows that do not say what they were made of are told.
    """
    silent = 0
    for row in rows:
        run, made = key_of(row), row.get(MADE_OF)
        if run not in wanted:
            continue
        silent += not isinstance(made, Mapping)
        now = wanted[run]
        found = difference(made, now) if isinstance(made, Mapping) else None
        if found is None and now["pope_images"] and "pope_f1" not in row:
            found = "POPE was not asked, and now is (--pope)"
        if found:
            raise DataError(
                f"{display(path)}: {run.name} was made of something else than it would be now: {found}; "
                "give another --folder, or take the line out"
            )
    if silent:
        announce(f"{silent} rows of {display(path)} do not say what they were made of, and are taken as they are")
    return {key_of(row) for row in rows}


def mend_end(path: Path) -> None:
    """End the last line, or take it away where a killed process left it unfinished: the next row begins a line."""
    if path.exists() and (text := read_text(path)) and not text.endswith("\n"):
        write_text(path, "".join(f"{line}\n" for line in _lines(path)[0]))
