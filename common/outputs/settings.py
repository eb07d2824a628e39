"""A result that is continued must be continued with the settings and the input that began it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ArgumentError, DataError
from common.files.storage import read_json, write_json
from common.paths import display

SHOWN = 60  # characters of a value in a message


def settings_path(result: Path | str) -> Path:
    """Where the settings of a result that is being made are kept: `NAME.settings.json` beside it."""
    result = Path(result)
    return result.with_name(result.name + ".settings.json")


def noted_settings(result: Path | str) -> dict[str, Any] | None:
    """The settings that began a result, None where none are noted. Raises DataError for a file of something else."""
    path = settings_path(result)
    if not path.is_file():
        return None
    try:
        value = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; move it away, or choose another name for the result") from None
    if not isinstance(value, dict):
        raise DataError(f"{display(path)} holds no settings; move it away, or choose another name for the result")
    return value


def check_settings(result: Path | str, settings: Mapping[str, Any]) -> None:
    """Raise ArgumentError, naming the first setting that differs from those that began `result`.

    A setting that an earlier version did not note cannot be compared and is passed over.
    """
    noted = noted_settings(result) or {}
    for name, value in settings.items():
        if name in noted and not _same(noted[name], value):
            raise ArgumentError(
                f"{display(result)} was begun with {name} {_short(noted[name])}, now it is {_short(value)}; "
                "add --restart to begin anew, or choose another file"
            )


def _same(noted: Any, value: Any) -> bool:
    return bool(noted == value) or noted == "auto"  # how a dtype was once noted before it was resolved


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def note_settings(result: Path | str, settings: Mapping[str, Any], keep: bool = False) -> None:
    """Note what begins a result; with `keep` what is noted already stays beside it."""
    noted = noted_settings(result) if keep else None
    value = {**(noted or {}), **settings}
    if value != noted:
        write_json(settings_path(result), value)
