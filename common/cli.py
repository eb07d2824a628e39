"""How a script ends: 0 done; 2, with one line, what the user can mend; 130 interrupted; 1 a fault of ours."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

from common.errors import INTERRUPTED, LONGEST_MESSAGE, DryRunEnds, UserError, first_line, plain
from common.paths import display
from common.processes import is_first
from common.progress import end_bars

FIRST_SPEAKS_SECONDS = 3.0
CHATTER = ("bitsandbytes.backends.cpu.ops",)  # warns, when imported, of kernels that nothing here uses

WAYS_ON = {
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
    errno.EACCES: "choose a place that you may write to, or change its permissions",
    errno.EPERM: "choose a place that you may write to, or change its permissions",
    errno.EROFS: "choose a place that can be written to",
    errno.EISDIR: "give the name of a file",
    errno.ENOTDIR: "a part of this path is a file; choose another",
    errno.EEXIST: "a part of this path is a file; choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; turn errors that the user can mend into one line and exit code 2, without a traceback.

    These are every :class:`UserError`, and what the operating system refuses (OSError). Of several processes that were
    launched together the first alone speaks; another does only for an error that the first does not have.
    """
    _stop_at_signals()
    _open_streams()
    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with _first_alone_speaks():
            main()
            sys.stdout.flush()
    except DryRunEnds as end:
        if is_first():
            print(end, file=sys.stderr)
    except UserError as error:
        _end(2, f"error: {error}", error.told, error.ours)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on; what is still buffered must not raise again
        sys.exit(2)
    except OSError as error:
        _end(2, f"error: {plain(system_line(error), LONGEST_MESSAGE)}")
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # as pathlib says what the system calls ELOOP
            raise
        _end(2, f"error: {plain(str(error), LONGEST_MESSAGE)}; give a path without links in a circle")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _end(130, INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _open_streams() -> None:
    """Standard output and error that take whatever is printed: also where they were closed, or know no Unicode."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8", errors="replace"))  # noqa: SIM115 (to the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop_at_signals() -> None:
    """Ctrl-C, and SIGTERM as schedulers and containers send it, end the script as KeyboardInterrupt.

    Of a launch the processes leave SIGTERM alone: the launcher sends it when another has died, and a process that waits
    for the dead one in a collective would not see an exception.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # which a background job is started with
        signal.signal(signal.SIGINT, signal.default_int_handler)
    me = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if os.getpid() != me:  # a forked worker
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    if "RANK" not in os.environ and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, stop)


def system_line(error: OSError) -> str:
    """What the operating system refused, where, and what to do, in one line."""
    if error.errno is None:
        return first_line(error)
    where = f"{display(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
    way = WAYS_ON.get(error.errno)
    return f"{where}{error.strerror or os.strerror(error.errno)}" + (f"; {way}" if way else "")


@contextmanager
def _first_alone_speaks() -> Iterator[None]:
    """What any other process of a launch prints goes nowhere; tracebacks come through.

    torch, which is not loaded yet, is told not to print a stack for every connection that a dead process leaves.
    """
    if "RANK" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if is_first():
        yield
        return
    if "transformers" in sys.modules:
        sys.modules["transformers"].logging.set_verbosity_error()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _end(code: int, text: str, told: bool = False, ours: bool = False) -> None:
    """Leave with a line; in a process that is not the first only if the first is not about to say the same."""
    if not (is_first() or told or ours):
        time.sleep(FIRST_SPEAKS_SECONDS)  # a launcher ends this process meanwhile if the first has ended
        text = f"{text} (process {os.environ.get('RANK')} on {socket.gethostname()})"
    end_bars()
    if not told:
        print(text, file=sys.stderr, flush=True)
    sys.exit(code)
