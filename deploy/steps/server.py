"""Runs scripts as forks of one process that has loaded their libraries: `python -m deploy.steps.server IN OUT`.

Reads orders, a JSON line each, from one pipe and writes exit codes to the other, until the first is closed. An order
names the libraries to load before the fork, the words behind `python`, and the libraries of later scripts, which are
loaded while this one runs. Nothing but imports happens before a fork: no threads, nothing on a device.

What is loaded stays for good: no fork looks through it for garbage, or takes it down piece by piece when it ends, which
costs two seconds of a core a script.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, TextIO


def load(libraries: Iterable[str]) -> None:
    """Import what can be; a script that lacks one says so itself."""
    for name in libraries:
        with suppress(ImportError):
            importlib.import_module(name)


def _own_folders() -> None:
    """Give a fork its own in the place of the loaded libraries' temporary folders, which are the server's to remove.

    Libraries remove theirs by a finalizer and some at the exit of the process, too, so its object has to be another's.
    """
    for clean_up in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        held = clean_up.detach()
        if held and isinstance(held[0], TemporaryDirectory):
            TemporaryDirectory.__init__(held[0])


def _leave_with(pid: int, *_: Any) -> None:
    """Told to end, end the script too."""
    with suppress(ProcessLookupError, ChildProcessError):  # ended already
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os._exit(1)


def serve(orders: TextIO, codes: TextIO) -> list[str] | None:
    """Fork for each order. Returns None when there are no more, and in a fork the words behind `python`."""
    for line in orders:
        order: dict[str, Any] = json.loads(line)
        load(order["now"])
        gc.freeze()
        pid = os.fork()
        if not pid:
            gc.enable()
            _own_folders()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            orders.close()
            codes.close()
            return list(order["words"])
        signal.signal(signal.SIGTERM, partial(_leave_with, pid))
        load(order["later"])
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=codes, flush=True)
    return None


def run_to_its_end(words: Sequence[str]) -> int:
    """Be the script, up to what it has registered for its end; returns its exit code. Other errors are raised."""
    sys.argv = list(words[1:])
    code: object = None
    try:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # as Python ends: threads first, then what waits for the end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def main() -> None:
    """Serve, and in a fork be the script."""
    gc.disable()
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the script's and the pipeline's to answer
    words = serve(os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w"))
    if words is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os._exit(run_to_its_end(words))


if __name__ == "__main__":
    main()
