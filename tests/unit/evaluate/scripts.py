"""Running evaluation scripts in this process: what they write, or the one line that they end with."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from common.cli import run

SHORT = "\nAnswer the question using a single word or phrase."
CASES = Path(__file__).parent / "cases"


class Scripts:
    """Scripts as a user runs them; `run` gives the result, `refused` the line of a script that ends with code 2."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.monkeypatch, self.capsys, self.result = monkeypatch, capsys, folder / "script-result.json"
        self.said = ""

    def _end(self, module: Any, argv: tuple[object, ...]) -> int:
        self.result.unlink(missing_ok=True)
        self.monkeypatch.setattr("sys.argv", ["script.py", *map(str, argv), "--result_path", str(self.result)])
        self.capsys.readouterr()
        try:
            run(module.main)
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            self.said = self.capsys.readouterr().err
        return 0

    def run(self, module: Any, *argv: object) -> Any:
        """What the script writes."""
        code = self._end(module, argv)
        assert code == 0, self.said
        return json.loads(self.result.read_text())

    def refused(self, module: Any, *argv: object) -> str:
        """The error of a script that must end with code 2, one bounded line, and nothing written."""
        assert self._end(module, argv) == 2, self.said
        assert not self.result.exists()
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and self.said.rstrip("\n").endswith(errors[0]) and len(errors[0]) < 450
        return errors[0]

    def outcome(self, module: Any, *argv: object) -> Any | None:
        """What the script writes, or None where it ends with code 2."""
        return self.run(module, *argv) if self._end(module, argv) == 0 else None


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as json, jsonl, tsv (all cells quoted, as VLMEvalKit writes), csv or xlsx, by the path's ending."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=4))
    elif path.suffix == ".jsonl":
        write_lines(path, rows)
    elif path.suffix == ".xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for line in [list(rows[0]), *(list(row.values()) for row in rows)]:
            book.active.append([None if isinstance(v, float) and math.isnan(v) else v for v in line])
        book.save(path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            separator = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            missing = {float: lambda v: "" if math.isnan(v) else v}
            writer.writerows({k: missing.get(type(v), lambda v: v)(v) for k, v in row.items()} for row in rows)
    return path
