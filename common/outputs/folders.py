"""Outputs that are a folder: filled under another name, then put into their place whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ArgumentError
from common.files.storage import REPLACED, TEMPORARY, naming, remove_leftovers
from common.outputs.locks import exclusive
from common.outputs.targets import paths_in, same_file
from common.paths import display


@dataclass(frozen=True)
class FolderTarget:
    """A folder that is written at once.

    Args:
        path: the folder.
        flag: that it came from, without dashes.
        replace: whether an earlier one of ours may go.
        is_ours: tells one of ours by what lies in it.
        mark: what it goes by, for messages.
    """

    path: Path
    flag: str
    replace: bool
    is_ours: Callable[[Path], bool]
    mark: str

    def check(self, groups: Iterable[Any] = ()) -> None:
        """Refuse a folder that holds an input, or that is not ours to replace. Writes nothing.

        Args:
            groups: argument dataclasses; every path in them but this one is an input.

        Raises ArgumentError.
        """
        for name, path in paths_in(groups):
            if name != self.flag and (same_file(self.path, path) or self.path.resolve() in path.resolve().parents):
                raise ArgumentError(
                    f"--{self.flag} {display(self.path)} holds an input of this command (from --{name}), which would "
                    "be lost; give another folder"
                )
        if not os.path.lexists(self.path):
            return
        if not self.replace:
            raise ArgumentError(
                f"{display(self.path)} (from --{self.flag}) exists; give another or --restart to replace it"
            )
        if self.path.is_symlink() or not self.path.is_dir() or not (self.is_ours(self.path) or _is_empty(self.path)):
            raise ArgumentError(
                f"{display(self.path)} (from --{self.flag}) is none of ours ({self.mark}), and is left as it is; give "
                "another folder"
            )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock, and remove what killed runs left. Raises UserErrors, OSError."""
        with exclusive(self.path):
            self.check()
            remove_leftovers(self.path)
            yield

    @contextmanager
    def filled(self) -> Iterator[Path]:
        """An empty folder that takes the place of the target once it is filled; only while it is taken."""
        name = f".{self.path.name}.{os.getpid()}"
        temporary = self.path.with_name(name + TEMPORARY)
        old = self.path.with_name(name + REPLACED + TEMPORARY)
        temporary.mkdir(parents=True)
        try:
            with naming(self.path):
                yield temporary
            if self.path.exists():
                self.path.rename(old)
            temporary.rename(self.path)
        finally:
            for folder in (temporary, old):
                shutil.rmtree(folder, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())
