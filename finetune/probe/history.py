"""The probes of a run on disk: `probe.jsonl`, one line each, always whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.errors import DataError
from common.files.json_text import as_record
from common.files.record_files import dump_line
from common.files.storage import read_json_lines, write_text
from common.paths import display
from finetune.probe.measure import Measure


def read_probes(path: Path) -> dict[int, Measure]:
    """Step -> figures; empty where there is no file. Raises DataError naming the line that is none, or a second one."""
    found: dict[int, Measure] = {}
    try:
        for number, value in read_json_lines(path) if path.is_file() else ():
            where = f"{display(path)}:{number}"
            one = as_record(value, Measure, where)
            if one.step in found:
                raise DataError(f"{where}: a second probe of step {one.step}")
            if (one.share is None) != (one.mentions == 0):
                raise DataError(f"{where}: share is {one.share} of {one.mentions:g} mentions a caption")
            found[one.step] = one
    except DataError as error:
        raise DataError(f"{error}; put the run's own file back, or use --restart") from None
    return found


def write_probes(path: Path, probes: Iterable[Measure]) -> None:
    """Write all of them at once. Raises OSError."""
    write_text(path, "".join(dump_line(one.to_json()) + "\n" for one in sorted(probes, key=lambda p: p.step)))
