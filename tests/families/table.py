"""The table of families: what `--model auto` does with everything that the installed transformers names.

    python -m tests.families.table                       # all of it, into tests/families/TABLE.md
    python -m tests.families.table --only gemma3 qwen3_vl

A cell is what was measured on a tiny random checkpoint: what it says works, "refused" with its reason below the table,
or - where nothing can be tried. A traceback is a fault of ours: it is shown as BROKEN, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from common.errors import UserError
from tests.families.building import family_names, write_family
from tests.families.exceptions import changes_of
from tests.families.steps import COLUMNS, Case, write_data

TABLE = Path(__file__).parent / "TABLE.md"
BROKEN = "BROKEN"


@dataclass
class Row:
    """One family: what each column gave, and why not."""

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    connector: str = ""
    seconds: float = 0

    @property
    def broken(self) -> bool:
        """Whether anything ended otherwise than it should."""
        return BROKEN in self.cells.values()


def try_family(name: str, data: Path, folder: Path) -> Row:
    """Everything that is tried with one family."""
    row, changes = Row(name), changes_of(name)
    if changes.impossible:
        row.reasons["not tried"] = changes.impossible
        return row
    case = Case(folder / name, data, folder / f"{name}-out")
    case.out.mkdir(parents=True)
    try:
        write_family(case.base, name, changes)
    except Exception as error:  # whatever configs, models and processors raise that are put together by rule
        row.reasons["not tried"] = f"no tiny checkpoint of it could be made: {_line(error)}"
        return row
    if not _loads(row, case):
        return row
    for column, run in COLUMNS.items():
        _cell(row, column, lambda run=run: run(case))  # type: ignore[misc]
    return row


def _loads(row: Row, case: Case) -> bool:
    from common.models import load_model

    def load() -> str:
        model = load_model("auto", case.base)
        row.connector = ", ".join(model.anatomy.connector)  # type: ignore[attr-defined]
        return "yes"

    _cell(row, "loads", load)
    if "do not fit together" in row.reasons.get("loads", ""):  # the fault of sizes that were put together by rule
        del row.cells["loads"]
        row.reasons["not tried"] = f"no tiny checkpoint that fits together was made: {row.reasons.pop('loads')}"
    return row.cells.get("loads") == "yes"


def _cell(row: Row, column: str, run: Callable[[], str]) -> None:
    try:
        row.cells[column] = run()
    except UserError as error:
        row.cells[column] = "refused"
        row.reasons[column] = str(error)
    except Exception as error:  # a fault of ours, which the table shows
        traceback.print_exc()
        row.cells[column] = BROKEN
        row.reasons[column] = f"{type(error).__name__}: {_line(error)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def written(rows: list[Row]) -> str:
    """The table as Markdown."""
    import torch
    import transformers

    tried = [row for row in rows if "loads" in row.cells]
    lines = [
        "# Families of `--model auto`",
        "",
        f"Made by `python -m tests.families.table` on {date.today()}: transformers {transformers.__version__}, torch "
        f"{torch.__version__}, tiny random checkpoints, CPU, {sum(row.seconds for row in rows) / 60:.0f} minutes. "
        f"{sum(r.cells['loads'] == 'yes' for r in tried)} of {len(rows)} model types load.",
        "",
        "| model type | " + " | ".join(COLUMNS) + " | connector |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for row in tried:
        cells = [row.cells.get(column, "-") for column in COLUMNS]
        if row.cells["loads"] != "yes":
            cells = [row.cells["loads"]] + ["-"] * (len(COLUMNS) - 1)
        lines.append(f"| {row.name} | {' | '.join(cells)} | {row.connector} |")
    lines += ["", "## Reasons", ""]
    for row in rows:
        lines += [f"- {row.name}, {column}: {_short(reason)}" for column, reason in row.reasons.items()]
    return "\n".join(lines) + "\n"


def _short(reason: str) -> str:
    """Without the folder of this run."""
    return " ".join(word.rpartition("/")[2] if "/families-" in word else word for word in reason.split())


def main() -> None:
    """Try all families, write the table, and end with 1 if anything is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=None, help="model types; the table is printed, not written")
    parser.add_argument("--rows", type=Path, default=None, help="keep rows in this file; those that it has stay")
    args = parser.parse_args()
    quiet()
    names = args.only or family_names()
    rows = try_families(names, args.rows)
    text = written(rows)
    print(text) if args.only else TABLE.write_text(text, encoding="utf-8")
    sys.exit(any(row.broken for row in rows))


def try_families(names: Sequence[str], kept: Path | None) -> list[Row]:
    """A row of each; `kept`: a file of rows, which is added to."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept is not None and kept.is_file() else []
    done = {row.name: row for row in (Row(**json.loads(line)) for line in lines)}
    with tempfile.TemporaryDirectory(prefix="families-") as place:
        write_data(Path(place) / "data")
        for name in names:
            if name in done:
                continue
            start = time.monotonic()
            row = done[name] = try_family(name, Path(place) / "data", Path(place))
            row.seconds = time.monotonic() - start
            print(f"{name}: {row.cells or row.reasons} {row.seconds:.0f} s", file=sys.stderr, flush=True)
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
    return [done[name] for name in names]


def quiet() -> None:
    """No bars and warnings of libraries."""
    import transformers

    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
