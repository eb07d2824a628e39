"""The life of an output that grows record by record: lock, ownership, settings, records, manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from common.errors import DataError
from common.files.storage import ResumableLines, read_json_lines, remove_leftovers
from common.manifest import git_commit, manifest_path, versions, write_manifest
from common.outputs.locks import exclusive
from common.outputs.parts import part_path, part_paths, part_records, remove_parts
from common.outputs.session import Session, launched
from common.outputs.settings import check_settings, note_settings, settings_path
from common.outputs.targets import noted_beside_target, refuse_foreign
from common.paths import display
from common.processes import Process, this_process
from common.progress import batches

W = TypeVar("W")
JOINED_AT_ONCE = 1000  # records from the parts that are appended at once


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
            if self.restart:
                remove_parts(self.path)
            note_settings(self.path, self.settings, keep=not self.restart)
        return super().open()

    def gather(self, lost: dict[str, str] | None = None) -> bool:  # noqa: ARG002
        """All records of this process are written: wait for those of the others, and bring them into the file.

        Args:
            lost: what this process could not read, and why; what the others could not comes to it.

        Returns whether this process goes on with the whole file; the others have nothing more to do. Raises
        LostProcessError if one of them dies.
        """
        self.open()
        return True

    def finish(self, notes: Mapping[str, Any]) -> None:
        """Everything is written: say so with the manifest."""
        os.fsync(self.open().fileno())
        write_manifest(self.path, notes)


class SharedOutput(LineOutput):
    """The file while the processes of a launch make it together, or while parts of an earlier launch are left.

    Each process appends to its own part; :meth:`gather` brings the parts into the file, in the order in which one
    process would have written them. Until then a record in any part counts as done, however many processes go on.
    """

    def __init__(self, target: LineTarget, settings: Mapping[str, Any], me: Process, session: Session | None) -> None:
        super().__init__(target, settings, begun=True, restart=False)
        self.me, self.session, self.key = me, session, target.key
        self.written = frozenset(self.done)  # what the file itself holds
        self.done |= {self.key(record) for record in part_records(self.path)}
        self.part = ResumableLines(part_path(self.path, me.rank), self.key)
        self.order: list[str] = []
        self._agree()

    def _agree(self) -> None:
        """Wait until all have looked. Raises DataError where one sees other records: then it is another folder."""
        if self.session is None:
            return
        mine = hashlib.sha256("\n".join(sorted(self.done)).encode()).hexdigest()
        self.session.post("done", mine)
        for rank in range(self.me.count):
            if json.loads(self.session.wait("done", rank)) != mine:
                raise DataError(
                    f"processes 0 and {max(rank, self.me.rank)} of {self.me.count} see different records beside "
                    f"{display(self.path)}; all must work in one shared folder"
                )

    def share(self, work: Sequence[W], order: Iterable[str]) -> list[W]:
        """Every n-th of `work`, n being the number of processes."""
        self.order = list(order)
        return list(work[self.me.rank :: self.me.count])

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records to this process's part."""
        self.part.write(records)

    def gather(self, lost: dict[str, str] | None = None) -> bool:
        """As :meth:`LineOutput.gather`."""
        self._close_part()
        if self.session is not None:
            self.session.finish(lost or {})
            if not self.me.is_first:
                self.session.wait("joined", 0)
                return False
            for rank in range(1, self.me.count):
                theirs = json.loads(self.session.wait("share", rank))
                if lost is not None:
                    lost.update(theirs)
        self._join()
        if self.session is not None:
            self.session.post("joined", True)
        return True

    def _join(self) -> None:
        """Append what the parts hold, in order; killed meanwhile, the next to come does the rest."""
        found = {self.key(record): record for record in part_records(self.path)}
        self.open()
        order = dict.fromkeys([*self.order, *found])  # what nobody asked for again stays, after the rest
        missing = [found[key] for key in order if key in found and key not in self.written]
        for some in batches(missing, JOINED_AT_ONCE):
            super().write(some)
        os.fsync(self.open().fileno())
        remove_parts(self.path)

    def _close_part(self) -> None:
        """What is closed and synced is seen on other machines too."""
        if self.part._file is not None:
            os.fsync(self.part._file.fileno())
        self.part.__exit__(None, None, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.part.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)


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
        me = this_process()
        with ExitStack() as stack:
            stack.enter_context(exclusive(self.path if me.is_first else part_path(self.path, me.rank)))
            session = stack.enter_context(launched())
            if session is not None:
                session.join({**versions(), "commit": git_commit(), **settings})
            out = self._output(me, session, settings, restart)
            stack.enter_context(out)
            yield out

    def _output(self, me: Process, session: Session | None, settings: Mapping[str, Any], restart: bool) -> LineOutput:
        """The file, checked and if need be emptied by the first process before any other looks at it."""
        if not me.is_first:
            assert session is not None
            session.wait("ready", 0)
            return SharedOutput(self, settings, me, session)
        begun = self._is_begun(settings, restart)
        if begun and not restart:
            check_settings(self.path, settings)
        out = LineOutput(self, settings, begun, restart)
        if session is None and (out.restart or not part_paths(self.path)):
            return out  # parts of an earlier launch go when the new settings are noted
        if out.restart:
            with out:
                out.open()
        if session is not None:
            session.post("ready", True)
        return SharedOutput(self, settings, me, session)

    def _is_begun(self, settings: Mapping[str, Any] | None, restart: bool) -> bool:
        """Whether the file holds something of ours. Raises DataError if it holds something else."""
        noted = noted_beside_target(self.path, self.flag, self.step)
        if noted and settings is not None and not set(settings) & set(noted):
            raise refuse_foreign(self.path, self.flag, f"{settings_path(self.path).name} is not of this step")
        there = self.path.exists() and self.path.stat().st_size > 0
        if not there and not part_paths(self.path):
            return False
        if noted is None:
            raise refuse_foreign(self.path, self.flag, f"no {settings_path(self.path).name} beside it")
        self._check_records(restart)
        return True

    def _check_records(self, restart: bool) -> None:
        """Raise DataError for a line that is no record, or unless `restart` for one that is there twice."""
        seen: set[str] = set()
        name = display(self.path)
        try:
            lines = read_json_lines(self.path, whole_lines=True) if self.path.exists() else ()
            for number, value in lines:
                self.read(value, f"{name}:{number}")
                if self.key(value) in seen and not restart:
                    raise DataError(f"line {number} says {self.key(value)} again; begin it anew with --restart")
                seen.add(self.key(value))
        except DataError as error:
            raise refuse_foreign(self.path, self.flag, str(error)[:200]) from None
