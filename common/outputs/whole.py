"""Outputs that appear at once: lock, ownership, removal of leftovers; the file itself is renamed into its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, remove_leftovers
from common.manifest import manifest_path
from common.outputs.locks import exclusive
from common.outputs.settings import note_settings, settings_path
from common.outputs.targets import noted_beside_target, refuse_foreign


@dataclass(frozen=True)
class WholeTarget:
    """An output that is written at once.

    Args:
        path: the file.
        flag: that it came from, without dashes.
        step: the module that makes it.
        recognise: raises DataError if a file is of another kind.
        needs_note: whether ownership takes a note beside it, because others write files of this kind too.
        noted_by: another output of the same call whose manifest speaks for this one.
    """

    path: Path
    flag: str
    step: str
    recognise: Callable[[Path], Any]
    needs_note: bool = False
    noted_by: Path | None = None

    def check(self) -> None:
        """Raise DataError if a file is there that is not provably of this step. Writes nothing."""
        noted = noted_beside_target(self.path, self.flag, self.step) if self.needs_note else None
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        manifests = [manifest_path(path) for path in (self.path, self.noted_by) if path]
        known = any(path.is_file() for path in manifests) or (noted or {}).get("step") == self.step
        if self.needs_note and not known:
            raise refuse_foreign(self.path, self.flag, f"no {manifests[0].name} beside it")
        try:
            self.recognise(self.path)
        except DataError as error:
            raise refuse_foreign(self.path, self.flag, str(error)[:200]) from None


@contextmanager
def taken(targets: Sequence[WholeTarget]) -> Iterator[None]:
    """Hold the locks of outputs that are ours to write; where needed, note so. Raises UserErrors, OSError."""
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(exclusive(target.path))
            target.check()
        for target in targets:  # now that all may be written
            for path in (target.path, settings_path(target.path), manifest_path(target.path)):
                remove_leftovers(path)
            if target.needs_note:
                note_settings(target.path, {"step": target.step})
        yield


def json_object_with(*names: str) -> Callable[[Path], None]:
    """What recognises a JSON object by entries that it has."""

    def recognise(path: Path) -> None:
        """Raises DataError."""
        value = read_json(path)
        if not isinstance(value, dict) or not set(names) <= set(value):
            raise DataError(f"no JSON object with {', '.join(names)}")

    return recognise
