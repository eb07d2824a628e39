"""A result that is continued must be continued with the settings and the input that began it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ArgumentError
from common.files.storage import read_json, write_json
from common.paths import display


def settings_path(result: Path | str) -> Path:
    """Where the settings of a result that is being made are kept: `NAME.settings.json` beside it."""
    result = Path(result)
    return result.with_name(result.name + ".settings.json")


def begin_or_continue(result: Path | str, settings: Mapping[str, Any], restart: bool = False) -> None:
    """Note the settings of a new result; of one that exists already, check that they are the same.

    Args:
        settings: whatever changes the records (options, model hash, hash of the input), as JSON values.
        restart: the result is begun anew, so whatever was noted is replaced.

    Raises ArgumentError naming the first setting that differs, before anything is written.
    """
    path = settings_path(result)
    if Path(result).exists() and path.exists() and not restart:
        noted = read_json(path)
        for name, value in settings.items():
            if name in noted and noted[name] != value:
                raise ArgumentError(
                    f"{display(result)} was begun with {name} {noted[name]}, now it is {value}; "
                    "add --restart to begin anew, or choose another file"
                )
    write_json(path, dict(settings))
