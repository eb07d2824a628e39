"""Where a result goes: to a new place or over an earlier result, never over an input; checked before anything slow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.files.storage import write_json
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, json_object_with, taken
from common.progress import announce

RESULT = ("task", "scores", "manifest")  # entries that say that a file is a result


def check_outputs(groups: Iterable[Any], result_path: Path | str | None, **others: Path | str | None) -> None:
    """Refuse a result (or another output) that is an input, a folder, or somebody else's file. Writes nothing.

    Args:
        groups: the arguments of the script; every path in them that is not named here is an input.
        others: flag -> further outputs.

    Raises ArgumentError, DataError.
    """
    check_targets({"result_path": result_path, **others}, groups)
    if result_path is not None:
        check_result(result_path)


def check_result(path: Path | str, entries: tuple[str, ...] = RESULT) -> None:
    """Raise DataError if a file is there that does not have the entries of a result of this kind. Writes nothing."""
    _target(path, entries).check()


def write_result(path: Path | str, value: Mapping[str, Any], entries: tuple[str, ...] = RESULT) -> None:
    """Write a result; what is there already must have the same `entries`. Raises DataError, InUseError, OSError."""
    with taken([_target(path, entries)]):
        write_json(path, value)
    announce(f"wrote {path}")


def _target(path: Path | str, entries: tuple[str, ...]) -> WholeTarget:
    return WholeTarget(Path(path), "result_path", "evaluate", json_object_with(*entries))
