"""Somebody else's file where a step is to write: refused before the first step, not hours later when that one comes.

Each script looks at what lies in its place before it works. This takes as much of those looks as can be had without the
script; of a step that was begun here nothing is asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError
from common.manifest import manifest_path
from common.outputs.settings import settings_path
from common.outputs.targets import check_targets, refuse_foreign
from common.outputs.whole import WholeTarget, json_object_with
from deploy.steps.files import BENCHMARKS, FILES
from deploy.steps.notes import Notes
from deploy.steps.plan import Run, given_value

FOLDERS = ("trained", "exported")
# Outputs that their scripts take for their own only with a note beside them.
NOTED = (
    *("captions", "objects", "scores", "own_answers", "eval_captions", "pos_neg", "sentences", "repaired", "trained"),
    *(f"{name}_answers" for name in BENCHMARKS),
)
RESULT = ("task", "scores", "manifest")
ENTRIES = {  # that say what a JSON file is
    **dict.fromkeys(("result", *(f"{name}_result" for name in BENCHMARKS)), RESULT),
    "comparison": ("differences", "mcnemar"),
}


def refuse_foreign_files(runs: Sequence[Run], notes: Notes, restart: bool) -> None:
    """Raise DataError for what lies where a step that was not begun here would write, and is no step's."""
    for run in runs:
        for flag, key in FILES[run.step].makes.items():
            place = given_value(flag, run.values)
            if place is not None and run.name not in notes.runs:
                try:
                    _check(Path(place), flag, key, restart)
                except DataError as error:
                    raise DataError(f"the step '{run.name}' could not write: {error}") from None


def _check(path: Path, flag: str, key: str, restart: bool) -> None:
    if key not in FOLDERS:
        check_targets({flag: path})
    elif os.path.lexists(path) and not path.is_dir():
        raise refuse_foreign(path, flag, "a file, not a folder")
    if key in NOTED and _is_filled(path) and not (settings_path(path).is_file() or manifest_path(path).is_file()):
        raise refuse_foreign(path, flag, f"no {settings_path(path).name} beside it")
    if key in ENTRIES:
        WholeTarget(path, flag, "", json_object_with(*ENTRIES[key])).check()
    if key == "exported" and path.is_dir() and not restart:
        raise refuse_foreign(path, flag, "an export replaces none without --restart")


def _is_filled(path: Path) -> bool:
    """Whether a file or folder is there and holds something."""
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0
