"""Where a page goes: to a new place or over an earlier page of the same script, whole at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from common.files.storage import write_text
from common.outputs.whole import WholeTarget, taken
from common.page.render import Page
from common.paths import display
from common.progress import announce

HEAD = 2_000  # bytes in which a page says who made it


@dataclass(frozen=True)
class PageTarget:
    """The file of a page.

    Attributes:
        path: of the file.
        flag: that it came from, without dashes.
        page: what is made.
    """

    path: Path
    flag: str
    page: Page

    def check(self) -> None:
        """Raise DataError if a file is there that is no page of this script. Writes nothing."""
        self._target().check()

    def write(self, html: str) -> None:
        """Put the page into its place. Raises DataError, InUseError, OSError."""
        with taken([self._target()]):
            write_text(self.path, html)
        announce(f"wrote {display(self.path)} ({self.path.stat().st_size / 1e6:.1f} MB)")

    def _target(self) -> WholeTarget:
        return WholeTarget(self.path, self.flag, self.page.maker, self._recognise)

    def _recognise(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if f'<meta name="generator" content="{self.page.maker}">'.encode() not in head:
            raise DataError(f"no page of {self.page.maker}")
