"""Processes of one launch that make one output together: who is there, who is done, who died.

They talk through the launcher's key-value store, so that it makes no difference on which machines they run. A process
on the same machine is seen to be dead at once, one on another when its heartbeat stops; every other stops then, and the
first that lives says why. A launcher that kills the others when one ends does no harm: the signal makes them look.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from common.errors import ArgumentError, UserError, first_line, plain
from common.processes import (
    JOIN_SECONDS,
    POLL_SECONDS,
    Process,
    is_running,
    launch_store,
    place,
    this_process,
)

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

BEAT_SECONDS = 1.0
SILENT_SECONDS = 90.0  # without a heartbeat: longer than any call that holds the interpreter
STUCK_SECONDS = 20.0  # after a signal: for the main thread to notice; launchers kill after 30
LOOK_SECONDS = 3.0  # after a signal: until the process that caused it can be seen to be dead
_numbers = count()  # of this process's sessions
STOPPED, FINISHED, FAILED = "stopped", "finished", "failed: "


class LostProcessError(UserError):
    """Another process of the launch died or failed; one of those that are left says it."""


@dataclass
class Session:
    """One output in the making by all processes of a launch; a context manager.

    Args:
        me: this process.
        store: of the launch.
        name: of the output, the same in every process and in no other session of the launch.
    """

    me: Process
    store: Store
    name: str
    peers: dict[int, dict[str, Any]] = field(default_factory=dict)
    lost: str | None = None
    _beats: dict[int, tuple[str, float]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _pid: int = field(default_factory=os.getpid)
    _before: Any = None

    # Life

    @classmethod
    def next(cls, me: Process, store: Store) -> Session:
        """The session of the next output; all processes make their outputs in the same order."""
        return cls(me, store, f"output/{next(_numbers)}")

    def __enter__(self) -> Session:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        self._watcher = threading.Thread(target=self._watch, name="watch over the other processes", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()
        signal.signal(signal.SIGTERM, self._before)
        if error is None:
            return
        if _is_of_connection(error):
            lost = self._verdict(f"a connection to another process broke ({first_line(error)[:100]})")
            self._say_end(lost)
            raise lost from None
        self._say_end(error)
        if isinstance(error, UserError) and not self.me.is_first and not isinstance(error, LostProcessError):
            error.told = True  # by the first process

    def _say_end(self, error: BaseException) -> None:
        stops = isinstance(error, LostProcessError | KeyboardInterrupt)
        text = STOPPED if stops else FAILED + (str(error) or type(error).__name__)
        try:
            self.store.set(self._key("end", self.me.rank), text)
        except RuntimeError:
            return  # the store went with the first process

    # Talk

    def join(self, facts: Mapping[str, Any]) -> None:
        """Wait for all others. Raises ArgumentError in the first process where another one's facts differ from its."""
        mine = {"place": place(), "pid": os.getpid(), "facts": dict(facts)}
        self.post("here", mine)
        self.peers = {rank: json.loads(self.wait("here", rank)) for rank in range(self.me.count)}
        if self.me.is_first:
            for rank in range(1, self.me.count):
                self._compare(rank)

    def _compare(self, rank: int) -> None:
        mine, theirs = self.peers[0]["facts"], self.peers[rank]["facts"]
        for name in sorted({*mine, *theirs}):
            if mine.get(name) != theirs.get(name):
                raise ArgumentError(
                    f"process {rank} of {self.me.count} on {self._host(rank)} has {name} {_short(theirs.get(name))}, "
                    f"process 0 on {self._host(0)} has {_short(mine.get(name))}; results of both would be mixed: give "
                    "all processes the same"
                )

    def post(self, what: str, value: Any) -> None:
        """Tell all others something under this process's number."""
        self.store.set(self._key(what, self.me.rank), json.dumps(value))

    def wait(self, what: str, rank: int, seconds: float = JOIN_SECONDS) -> str:
        """What process `rank` posted, once it did. Raises LostProcessError if one is lost meanwhile."""
        key, until = self._key(what, rank), time.monotonic() + seconds
        while not self._asked(lambda: self.store.check([key])):
            if self.lost is not None:
                raise self._verdict()
            if what == "here" and time.monotonic() > until:
                raise LostProcessError(f"process {rank} of {self.me.count} did not come within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return str(self._asked(lambda: self.store.get(key)).decode())

    def finish(self, value: Any) -> None:
        """This process's share is written; `value` goes to the first."""
        self.post("share", value)
        self.store.set(self._key("end", self.me.rank), FINISHED)

    def part(self) -> None:
        """End without anything to hand over; the first, where the store may live, goes when all others have ended."""
        self.finish({})
        if self.me.is_first:
            for rank in range(1, self.me.count):
                self.wait("share", rank)

    def _key(self, what: str, rank: int) -> str:
        return f"{self.name}/{what}/{rank}"

    def _asked(self, question: Callable[[], Any]) -> Any:
        """An answer of the store, which goes where the first process goes."""
        try:
            return question()
        except RuntimeError:
            self.lost = self.lost or f"process 0 of {self.me.count} on {self._host(0)} died"
            raise self._verdict() from None

    def _host(self, rank: int) -> str:
        return str(self.peers[rank]["place"]).split()[0] if rank in self.peers else "another machine"

    # Watch

    def _watch(self) -> None:
        """In a thread of its own: beat, and wake the main thread when another process is lost."""
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            beat += 1
            try:
                self.store.set(self._key("beat", self.me.rank), str(beat))
                lost = self._look()
            except RuntimeError:
                lost = f"process 0 of {self.me.count} on {self._host(0)} died"
            if lost is not None and not self._over.is_set():
                self.lost = lost
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                if not self._over.wait(STUCK_SECONDS):
                    self._leave_stuck()
                return

    def _leave_stuck(self) -> None:
        """End this process, whose main thread waits within a library for what the lost one will never send."""
        error = self._why("")
        if not error.told:
            os.write(2, f"error: {error}\n".encode())
        os._exit(2)

    def _look(self) -> str | None:
        """The first process that failed or died, in words."""
        ends = {rank: self._end(rank) for rank in range(self.me.count) if rank != self.me.rank}
        for rank, end in ends.items():
            if end.startswith(FAILED):
                return f"process {rank} of {self.me.count} on {self._host(rank)} stopped: {end.removeprefix(FAILED)}"
        for rank, end in ends.items():
            if not end and self._is_dead(rank):
                return f"process {rank} of {self.me.count} on {self._host(rank)} died"
        return None

    def _end(self, rank: int) -> str:
        key = self._key("end", rank)
        return str(self.store.get(key).decode()) if self.store.check([key]) else ""

    def _is_dead(self, rank: int) -> bool:
        peer = self.peers.get(rank)
        if peer is None:
            return False
        if peer["place"] == place():
            return not is_running(int(peer["pid"]))
        key, now = self._key("beat", rank), time.monotonic()
        beat = str(self.store.get(key).decode()) if self.store.check([key]) else ""
        last, since = self._beats.setdefault(rank, (beat, now))
        if last != beat:
            self._beats[rank] = (beat, now)
            return False
        return now - since > SILENT_SECONDS

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if os.getpid() != self._pid:  # a worker process, which was forked with this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise self._verdict()

    def _verdict(self, otherwise: str = "stopped by a signal") -> LostProcessError:
        """Why this process stops; signals are no longer heard."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher may send it again
        return self._why(otherwise)

    def _why(self, otherwise: str) -> LostProcessError:
        """Which process was lost, or what is said where none is seen to be; `told` unless this is the first to live."""
        until = time.monotonic() + LOOK_SECONDS
        while self.lost is None and time.monotonic() < until:
            try:
                self.lost = self._look()
            except RuntimeError:
                self.lost = f"process 0 of {self.me.count} on {self._host(0)} died"
            time.sleep(POLL_SECONDS)
        error = LostProcessError(
            plain(
                f"{self.lost or otherwise}; the others stopped and nothing written is lost: start the same command "
                "again to continue"
            )
        )
        error.ours = self.me.rank == self._speaker()
        error.told = not error.ours
        return error

    def _speaker(self) -> int:
        """The first process that lives, or that has told its own error."""
        for rank in range(self.me.rank):
            try:
                end = self._end(rank)
                if (end or not self._is_dead(rank)) and not (rank and end.startswith(FAILED)):
                    return rank
            except RuntimeError:
                continue  # of the store, which lives in the first
        return self.me.rank


@contextmanager
def launched() -> Iterator[Session | None]:
    """The session of the next output; None where this process is the only one."""
    me = this_process()
    if me.is_alone:
        yield None
        return
    with Session.next(me, launch_store()) as session:
        yield session


def _is_of_connection(error: BaseException) -> bool:
    """Whether torch.distributed could not talk to another process; gloo says so in no error of its own."""
    kinds = ("DistBackendError", "DistNetworkError", "DistStoreError")
    text = str(error)
    return type(error).__name__ in kinds or (isinstance(error, RuntimeError) and "gloo" in text and "onnection" in text)


def _short(value: Any, most: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]}..."
