"""Which of the launched processes this one is, and what of the machine is its own.

torchrun and accelerate number the processes that they start in environment variables; a script started by itself is
the only one. Processes find each other through the launcher's key-value store; torch.distributed's process group, which
only training needs, is not initialised.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from common.errors import ArgumentError, UserError, first_line

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

JOIN_SECONDS = 900.0  # for the slowest machine to start and to read its files
POLL_SECONDS = 0.05
Item = TypeVar("Item")
Made = TypeVar("Made")
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Process:
    """One of the processes that share a job.

    Attributes:
        rank: its number among all, from 0; number 0 speaks and writes for all.
        count: how many there are.
        local_rank, local_count: the same among those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1


def this_process() -> Process:
    """This process as its launcher numbered it. Raises ArgumentError for numbers that cannot be."""
    count = _number("WORLD_SIZE", 1)
    local_count = _number("LOCAL_WORLD_SIZE", count)
    rank = _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", rank)
    if not (0 <= rank < count and 0 <= local_rank < local_count):
        raise ArgumentError(
            f"the launcher says RANK {rank} of WORLD_SIZE {count}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE "
            f"{local_count}; start the script with torchrun or accelerate launch, or unset these variables"
        )
    return Process(rank, count, local_rank, local_count)


def is_first() -> bool:
    """Whether this process speaks for all; True where it is the only one."""
    return os.environ.get("RANK", "0") == "0"


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ArgumentError(f"{name} is '{text}' in the environment; a launcher sets it to a number") from None


def usable_cores() -> int:
    """Processor cores that this process may keep busy: its share of those that the machine lends to all of them."""
    return max(1, len(os.sched_getaffinity(0)) // this_process().local_count)


@contextmanager
def worker_pool(
    processes: int, method: str | None = None, prepare: Callable[[Any], object] | None = None, given: Any = None
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, which leave Ctrl-C to this one: what is running then ends, the rest is not begun. They end when
    this one is killed, whatever they wait for.

    Args:
        method: of starting them; None: Python's own.
        prepare: called with `given` in each worker first.
    """
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(prepare, given)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def made_in_order(pool: ProcessPoolExecutor, function: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yield what a pool makes of each item, in order; who stops listening leaves the rest to the pool's own end.

    Unlike the pool's `map`, which then cancels jobs from this thread: where a worker has died too, as of a signal to
    all processes, Python 3.11's thread of the pool meets a cancelled job and ends with a traceback.
    """
    jobs = deque(pool.submit(function, item) for item in items)
    while jobs:
        yield jobs.popleft().result()


def leave_signals_to_parent(number: int = 0) -> None:  # noqa: ARG001
    """What a worker of a DataLoader begins with: Ctrl-C and SIGTERM, which reach the whole group of processes, end it
    without a word, so that the one that started it says what there is to say. What fails in its work is told to that
    one; what fails in the threads that hand it over, as that one is gone, to nobody. It ends when that one is killed,
    at once, and with it whatever locks it inherited; the loader's own look comes every five seconds.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.excepthook = lambda *_: None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # another code would be an error to the loader


@contextmanager
def lost_loader_worker(what: str, way: str) -> Iterator[None]:
    """Turn a DataLoader's error over a dead worker into one line.

    Args:
        what: the workers do.
        way: on, for the user.

    Raises UserError.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the latter while a batch is handed over
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # which the loader has raise the same again, wherever we are
        raise UserError(f"a process that {what} died ({first_line(error)}); {way}") from None


def _begin(prepare: Callable[[Any], object] | None, given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def without_launcher(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a program that this process starts for itself alone."""
    return {name: value for name, value in environment.items() if name not in LAUNCHER}


@lru_cache(maxsize=1)
def launch_store() -> Store:
    """The key-value store of this launch. Raises UserError if the launcher's address is missing or nobody is there."""
    from torch.distributed.rendezvous import rendezvous

    me = this_process()
    try:
        store, _, _ = next(rendezvous("env://", me.rank, me.count, timeout=timedelta(seconds=JOIN_SECONDS)))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"process {me.rank} of {me.count} cannot reach the others ({first_line(error)[:150]}); start the script "
            "with torchrun or accelerate launch"
        ) from None
    return store


def first_alone(name: str) -> bool:
    """Whether this process is to do something that all need done once; the others return when the first said so.

    The first calls :func:`first_is_done` with the same name afterwards.
    """
    me = this_process()
    if me.is_alone or me.is_first:
        return True
    store = launch_store()
    while not store.check([f"done/{name}"]):
        time.sleep(POLL_SECONDS)
    return False


def first_is_done(name: str) -> None:
    """Let the others go on."""
    if not this_process().is_alone:
        launch_store().set(f"done/{name}", "1")


def place() -> str:
    """The machine, and within it the set of process numbers, that this process lives in."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = ""
    return f"{socket.gethostname()} {numbers}"


def is_running(pid: int) -> bool:
    """Whether a process of this machine lives; one that ended and was not yet asked for its code does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # not ours, or no /proc here
        return True
    return state not in ("Z", "X")
