"""One writer at a time for every output: a lock beside it that ends with the process, however that ends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from common.errors import UserError
from common.files.storage import naming
from common.paths import display
from common.progress import announce

# A link would lead to a file of somebody else's.
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


class InUseError(UserError):
    """Another process is writing the same output; the message says which."""


def lock_path(target: Path | str) -> Path:
    """Where the lock of an output lies: `.NAME.lock` beside it (beside the file itself, not beside a link to it)."""
    target = Path(os.path.realpath(target))
    return target.with_name(f".{target.name}.lock")


@contextmanager
def exclusive(target: Path | str) -> Iterator[None]:
    """Hold the lock of an output, making its folder. Raises InUseError if another process does, OSError."""
    path = lock_path(target)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with naming(target):
            path.parent.mkdir(parents=True, exist_ok=True)
            note = _locked(path, target)
    except BaseException:
        _remove_empty(made)
        raise
    os.register_at_fork(after_in_child=note.close)  # else a forked worker would hold the lock after our death
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the lock ends: whoever opened it will see that it is gone
            _remove_empty(made)
        note.close()


def _remove_empty(folders: list[Path]) -> None:
    """Those, the inner first, that nothing was written into."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _locked(path: Path, target: Path | str) -> IO[str]:
    """The open lock file, locked, with our name in it. Raises InUseError, OSError."""
    while True:
        note = os.fdopen(os.open(path, FLAGS, 0o666), "a+", encoding="utf-8")
        try:
            if not _lock(note.fileno(), path):
                raise InUseError(f"{display(target)} is being written by {_holder(note)}; wait, or choose another name")
            if _is_at(note, path):
                _sign(note, path)
                return note
        except BaseException:
            note.close()
            raise
        note.close()  # it was removed between opening and locking


def _lock(descriptor: int, path: Path) -> bool:
    """Whether the lock is ours; on a file system without locks it is, with a warning."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        announce(f"{display(path.parent)} takes no locks ({error.strerror}): start no second process on one output")
        return True


def _is_at(note: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(note.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sign(note: IO[str], path: Path) -> None:
    """Write who holds the lock. Raises OSError on a full disk, which is said before any work; then the lock is gone."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    note.truncate(0)
    try:
        os.write(note.fileno(), said.encode())
    except OSError:
        path.unlink()
        raise


def _holder(note: IO[str]) -> str:
    """The process that holds a lock, in words."""
    note.seek(0)
    try:
        value = json.loads(note.read())
        return f"process {int(value['pid'])} on {str(value['host'])[:64]} since {str(value['since'])[:32]}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
