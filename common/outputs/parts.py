"""Part files: what each process of a launch has written of one output, until the first joins them in order.

A part is a bag of finished records, `.NAME.part-3` beside the output: whoever continues, with however many processes,
takes what is in all of them as done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.files.storage import read_json_lines


def part_path(target: Path | str, rank: int) -> Path:
    """Where process `rank` writes its records of an output."""
    target = Path(os.path.realpath(target))
    return target.with_name(f".{target.name}.part-{rank}")


def part_paths(target: Path | str) -> list[Path]:
    """The parts of an output that are there, in the order of the processes."""
    return _beside(target, r"\.{name}\.part-(\d+)")


def _beside(target: Path | str, pattern: str) -> list[Path]:
    """Files beside an output, sorted by the number in their names."""
    target = Path(os.path.realpath(target))
    ours = re.compile(pattern.replace("{name}", re.escape(target.name)))
    if not target.parent.is_dir():
        return []
    found = [(int(match[1]), path) for path in target.parent.iterdir() if (match := ours.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def part_records(target: Path | str) -> Iterator[dict[str, Any]]:
    """The records in all parts; a last line that a kill cut short is none. Raises DataError naming file and line."""
    for path in part_paths(target):
        for _, value in read_json_lines(path, whole_lines=True):
            yield value


def remove_parts(target: Path | str) -> None:
    """What is in the parts is in the output, or is to be forgotten; with locks that killed processes left."""
    for path in (*part_paths(target), *_beside(target, r"\.\.{name}\.part-(\d+)\.lock")):
        path.unlink(missing_ok=True)
