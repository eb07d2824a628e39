"""A folder that many processes write into at once: who uses it, and when what killed writers left may go."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path


class InUse:
    """A folder is in use as long as this object lives: by a shared lock on the folder itself, which ends with the
    process, however that ends. Nothing is written for it.

    Whoever comes while nobody else is there removes what killed writers left.

    Args:
        folder: made if it is not there.
        leftovers: lists them.

    Raises OSError where there can be no such folder.
    """

    def __init__(self, folder: Path, leftovers: Callable[[], Iterable[Path]]) -> None:
        self.descriptor = -1
        folder.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # others are there, or the file system takes no locks: nothing is removed then
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in leftovers():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
