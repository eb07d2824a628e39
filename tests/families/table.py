"""The table of families: what `--model auto` does with everything that the installed transformers names.

    python -m tests.families.table                       # all of it, into tests/families/TABLE.md
    python -m tests.families.table --only gemma3 qwen3_vl

A cell is what was measured on a tiny random checkpoint: what it says works, "refused" with its reason below the table,
or "-" where there is nothing to try (without a connector, none is trained and saved). A traceback is a fault of ours:
it is shown as BROKEN, a row that uses more of a processor than it may as TOO LATE, and the command ends with 1. Rows
are kept in runs/families.jsonl: a run that was ended is continued, if neither code nor libraries have changed.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import tempfile
import warnings
from datetime import date
from pathlib import Path

from common.manifest import git_commit
from common.paths import ROOT
from tests.families.building import family_names
from tests.families.calling import load_all
from tests.families.rows import LOADS, KeptRows, Row, make_rows, row_of
from tests.families.steps import COLUMNS, write_data
from tests.scratch import scratch

TABLE = Path(__file__).parent / "TABLE.md"
KEPT = ROOT / "runs" / "families.jsonl"
TIMEOUT = 300  # seconds of a processor, of a row


def state() -> dict[str, str]:
    """What rows of one table have in common."""
    import torch
    import transformers

    return {
        "commit": git_commit() or "",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
    }


def written(rows: list[Row], made: dict[str, str]) -> str:
    """The table as Markdown."""
    tried = [row for row in rows if LOADS in row.cells]
    versions = ", ".join(f"{name} {version}" for name, version in made.items() if name != "commit")
    lines = [
        "# Families of `--model auto`",
        "",
        f"Made by `python -m tests.families.table` on {date.today()}, commit {made['commit'][:10]}: {versions}, tiny "
        f"random checkpoints, CPU, {sum(row.seconds for row in rows) / 60:.0f} minutes of a core. "
        f"{sum(row.loads for row in rows)} of {len(rows)} model types load.",
        "",
        "| model type | " + " | ".join(COLUMNS) + " | connector |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for row in tried:
        cells = [row.cells.get(column, "-") for column in COLUMNS]
        if not row.loads:
            cells[0] = row.cells[LOADS]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {row.connector} |")
    lines += ["", "## Reasons", ""]
    for row in rows:
        lines += [f"- {row.name}, {column}: {_short(reason)}" for column, reason in row.reasons.items()]
    return "\n".join(lines) + "\n"


def _short(reason: str) -> str:
    """Without the folder of this run."""
    return " ".join(word.rpartition("/")[2] if "/efuf-families-" in word else word for word in reason.split())


def _row(name: str, data: Path, seconds: int) -> Row:
    """In a folder that goes with it: of all families they would take 5 GB."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return row_of(name, data, Path(folder), seconds)


def main() -> None:
    """Try all families, write the table, and end with 1 if anything is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=None, help="model types; the table is printed, not written")
    parser.add_argument("--rows", type=Path, default=KEPT, help="the file of the rows that are kept")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, help="seconds of a processor that a row may use")
    parser.add_argument("--out", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args()
    quiet()
    load_all()
    made, names = state(), args.only or family_names()
    with scratch("families") as folder:
        write_data(folder / "data")
        kept = None if args.only else KeptRows(args.rows, made)
        rows = make_rows(names, lambda name: _row(name, folder / "data", args.timeout), kept)
    text = written(rows, made)
    print(text) if args.only else args.out.write_text(text, encoding="utf-8")
    sys.exit(any(row.broken for row in rows))


def quiet() -> None:
    """No bars and warnings of libraries."""
    import transformers

    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
