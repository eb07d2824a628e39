"""The probes of a run on disk: `probe.jsonl`, one line each, always whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.files.json_text import as_record
from common.files.record_files import dump_line
from common.files.storage import read_json_lines, write_text
from common.paths import display
from finetune.probe.measure import Measure


def read_probes(path: Path) -> dict[int, Measure]:
    """Step -> figures; empty where there is no file. Raises DataError naming the line that is none."""
    if not path.is_file():
        return {}
    found = [as_record(value, Measure, f"{display(path)}:{number}") for number, value in read_json_lines(path)]
    return {one.step: one for one in found}


def write_probes(path: Path, probes: Iterable[Measure]) -> None:
    """Write all of them at once. Raises OSError."""
    write_text(path, "".join(dump_line(one.to_json()) + "\n" for one in sorted(probes, key=lambda p: p.step)))
