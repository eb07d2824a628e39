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
            _check(one, where)
            if one.step in found:
                raise DataError(f"{where}: a second probe of step {one.step}")
            found[one.step] = one
    except DataError as error:
        raise DataError(f"{error}; put the run's own file back, or use --restart") from None
    return found


def _check(one: Measure, where: str) -> None:
    """Raise DataError for a share beyond 0 to 1, or fewer than none of anything."""
    for name in ("share", "repetition"):
        value = getattr(one, name)
        if value is not None and not 0 <= value <= 1:
            raise DataError(f"{where}: {name} {value:g} is no share")
    for name in ("step", "captions", "low", "mentions", "objects", "grounded", "words"):
        if getattr(one, name) < 0:
            raise DataError(f"{where}: {name} is {getattr(one, name):g}")


def write_probes(path: Path, probes: Iterable[Measure]) -> None:
    """Write all of them at once. Raises OSError."""
    write_text(path, "".join(dump_line(one.to_json()) + "\n" for one in sorted(probes, key=lambda p: p.step)))
