"""How a script ends: 0 done; 2, with one line, what the user can mend; 130 interrupted; 1 a fault of ours."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

from common.errors import INTERRUPTED, LONGEST_MESSAGE, UserError, first_line, plain
from common.paths import display

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

    These are every :class:`UserError`, and what the operating system refuses (OSError).
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # which a background job is started with
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        _end(2, f"error: {error}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on; what is still buffered must not raise again
        sys.exit(2)
    except OSError as error:
        _end(2, f"error: {plain(system_line(error), LONGEST_MESSAGE)}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _end(130, INTERRUPTED)


def system_line(error: OSError) -> str:
    """What the operating system refused, where, and what to do, in one line."""
    if error.errno is None:
        return first_line(error)
    where = f"{display(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
    way = WAYS_ON.get(error.errno)
    return f"{where}{error.strerror or os.strerror(error.errno)}" + (f"; {way}" if way else "")


def _end(code: int, text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)
