"""The temporary folder of a long command: it goes with the command or, where that was killed, with the next one."""

from __future__ import annotations

import multiprocessing.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """`efuf-NAME-PID` in the temporary folder, which it stands in for while the block runs.

    So what libraries and killed processes leave goes with it; what earlier commands left that were killed goes first.
    """
    multiprocessing.util.get_temp_dir()  # removed at exit by its owner, who must not find it gone: not in here
    before, named = os.environ.get("TMPDIR"), tempfile.tempdir
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"efuf-{name}-*"):
        number = left.name.rpartition("-")[2]
        if number.isdecimal() and not is_alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = place / f"efuf-{name}-{os.getpid()}"
    folder.mkdir(mode=0o700)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = named
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        shutil.rmtree(folder, ignore_errors=True)


def is_alive(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True
