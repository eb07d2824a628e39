"""The life of an output that grows record by record: lock, ownership, settings, records, manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import ResumableLines, read_json_lines, remove_leftovers
from common.manifest import manifest_path, write_manifest
from common.outputs.locks import exclusive
from common.outputs.settings import check_settings, note_settings, noted_settings, settings_path
from common.outputs.targets import refuse_foreign
from common.paths import display


class LineOutput(ResumableLines):
    """The file while its lock is held. Nothing changes before its first new record.

    Complete is what has its manifest, so that goes first. A new beginning empties the result before the settings
    change: killed in between, there is nothing that the new settings could be wrong about.
    """

    def __init__(self, target: LineTarget, settings: Mapping[str, Any], begun: bool, restart: bool) -> None:
        super().__init__(target.path, target.key, restart or not begun)
        self.settings = {"step": target.step, **settings}

    def open(self) -> FileIO:
        """As :meth:`ResumableLines.open`."""
        if self._file is None:
            for path in (self.path, settings_path(self.path), manifest_path(self.path)):
                remove_leftovers(path)
            manifest_path(self.path).unlink(missing_ok=True)
            if self.restart and self.path.exists():
                os.truncate(self.path, 0)
            note_settings(self.path, self.settings, keep=not self.restart)
        return super().open()

    def finish(self, notes: Mapping[str, Any]) -> None:
        """Everything is written: say so with the manifest."""
        os.fsync(self.open().fileno())
        write_manifest(self.path, notes)


@dataclass(frozen=True)
class LineTarget:
    """An output of records that a killed step continues.

    Args:
        path: the file; NAME.settings.json and NAME.manifest.json lie beside it.
        flag: that it came from, without dashes.
        step: the module that makes it.
        read: a record from (object, place); raises DataError for an object of another kind.
        key: identity of a record, from its object.
    """

    path: Path
    flag: str
    step: str
    read: Callable[[Mapping[str, Any], str], Any]
    key: Callable[[Mapping[str, Any]], str]

    def check(self) -> None:
        """Raise DataError if a file is there that is not provably of this step. Writes nothing."""
        self._is_begun(None, restart=True)

    @contextmanager
    def open(self, settings: Mapping[str, Any], restart: bool = False) -> Iterator[LineOutput]:
        """Take the file, to continue it or (`restart`) to begin it anew.

        Raises InUseError, DataError for a foreign file, ArgumentError for other settings, OSError.
        """
        with exclusive(self.path):
            begun = self._is_begun(settings, restart)
            if begun and not restart:
                check_settings(self.path, settings)
            out = LineOutput(self, settings, begun, restart)
            with out:
                yield out

    def _is_begun(self, settings: Mapping[str, Any] | None, restart: bool) -> bool:
        """Whether the file holds something of ours. Raises DataError if it holds something else."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return False
        noted = noted_settings(self.path)
        if noted is None:
            raise refuse_foreign(self.path, self.flag, f"no {settings_path(self.path).name} beside it")
        if noted.get("step", self.step) != self.step:
            raise refuse_foreign(self.path, self.flag, f"{settings_path(self.path).name} says {noted['step']}")
        if settings is not None and not set(settings) & set(noted):
            raise refuse_foreign(self.path, self.flag, f"{settings_path(self.path).name} is not of this step")
        self._check_records(restart)
        return True

    def _check_records(self, restart: bool) -> None:
        """Raise DataError for a line that is no record, or unless `restart` for one that is there twice."""
        seen: set[str] = set()
        try:
            for number, value in read_json_lines(self.path, whole_lines=True):
                self.read(value, f"{display(self.path)}:{number}")
                if self.key(value) in seen and not restart:
                    raise DataError(f"line {number} says {self.key(value)} again; begin it anew with --restart")
                seen.add(self.key(value))
        except DataError as error:
            raise refuse_foreign(self.path, self.flag, str(error)[:200]) from None
