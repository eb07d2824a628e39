"""Where a result may go: to a new place, or over what is provably ours; never over an input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from common.errors import ArgumentError, DataError
from common.files.images import SUFFIXES
from common.files.json_text import shown
from common.manifest import manifest_path
from common.outputs.settings import noted_settings, settings_path
from common.paths import display


def check_targets(targets: Mapping[str, Path | str | None], groups: Iterable[Any] = (), **inputs: Any) -> None:
    """Refuse outputs that cannot be written, that are an input or another output of the same call, or that would be
    taken for an image among the inputs.

    Args:
        targets: flag without dashes -> the output (None: there is none).
        groups: argument dataclasses; every path in them that is no target is an input.
        inputs: flag -> further inputs, such as defaults.

    Nothing is written. Raises ArgumentError, DataError.
    """
    given = {name: Path(path) for name, path in targets.items() if path is not None}
    read = [pair for pair in paths_in(groups, inputs) if pair[0] not in targets]
    for number, (flag, target) in enumerate(given.items()):
        _require_place(target, flag)
        for name, path in read:
            if any(same_file(mine, path) for mine in _belonging(target)):
                raise ArgumentError(
                    f"--{flag} {display(target)} is an input of this command (from --{name}), which would be lost; "
                    "choose another name"
                )
        for name, path in read:
            if target.suffix.lower() in SUFFIXES and path.is_dir() and same_file(target.parent, path):
                raise ArgumentError(
                    f"--{flag} {display(target)} lies in a folder that this command reads (from --{name}), and would "
                    "be taken for one of its images; choose another folder"
                )
        for name, other in list(given.items())[:number]:
            if any(same_file(mine, theirs) for mine in _belonging(target) for theirs in _belonging(other)):
                raise ArgumentError(f"--{flag} and --{name} name the same file {display(target)}; choose two names")


def same_file(first: Path | str, second: Path | str) -> bool:
    """Whether two names are one file, through links of either kind, or would be if they were made."""
    try:
        return Path(first).samefile(second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def _belonging(target: Path) -> tuple[Path, ...]:
    return target, settings_path(target), manifest_path(target)


def paths_in(groups: Iterable[Any], inputs: Mapping[str, Any] = MappingProxyType({})) -> Iterator[tuple[str, Path]]:
    """(flag, path) of everything in the groups that is called a path, and of the further inputs."""
    values = list(inputs.items())
    for group in groups:
        if is_dataclass(group):
            values += [(f.name, getattr(group, f.name)) for f in fields(group) if f.name.endswith(("_path", "_paths"))]
    for name, value in values:
        for path in value if isinstance(value, list | tuple) else (value,):
            if isinstance(path, str | Path) and str(path):
                yield name, Path(path)


def _require_place(target: Path, flag: str) -> None:
    """Raise DataError if the target cannot become a file."""
    if os.path.islink(os.path.realpath(target)):  # noqa: PTH114 (what pathlib does not resolve)
        raise DataError(f"--{flag} {display(target)} is a link in a circle; give the name of a file")
    if target.is_dir():
        raise DataError(f"--{flag} {display(target)} is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():  # what is renamed over a device takes its place for everybody
        raise DataError(f"--{flag} {display(target)} is a device or a pipe; give the name of a file")
    place = Path(os.path.realpath(target)).parent
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise DataError(f"--{flag} {display(target)}: {display(place)} is a file, not a folder; choose another name")
    if not os.access(place, os.W_OK):
        raise DataError(
            f"--{flag} {display(target)}: no permission to write into {display(place)}; choose another folder"
        )


def noted_beside_target(path: Path, flag: str, step: str) -> dict[str, Any] | None:
    """The settings noted beside an output, None where there are none.

    Raises DataError for notes of another step, and for a manifest without settings and result, which would be lost.
    """
    noted = noted_settings(path)
    if noted is not None and noted.get("step", step) != step:
        raise refuse_foreign(path, flag, f"{settings_path(path).name} says {shown(noted['step'])}")
    if noted is None and not path.exists() and manifest_path(path).exists():
        raise refuse_foreign(manifest_path(path), flag, f"no {settings_path(path).name} beside it")
    return noted


def refuse_foreign(path: Path | str, flag: str, why: str) -> DataError:
    """The error for a file that is there already and is not ours."""
    return DataError(
        f"--{flag} {display(path)} is there already and is no result of this step ({why}); it is left as it is: "
        "choose another name, or move it away"
    )
