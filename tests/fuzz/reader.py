"""What a reader under test is: valid files, and the call that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reader:
    """A reader of the project.

    Attributes:
        name: in the report, and of the folder in which its files lie.
        files: file name -> its valid content; a path is linked to, and never changed.
        read: the call, with the folder.
        share: of the inputs, relative to other readers.
        spelled: fields in which the format has numbers and text alike, such as ids.
        infinite: whether NaN may stand in a result ("no answer").
    """

    name: str
    files: Mapping[str, bytes | Path]
    read: Callable[[Path], object]
    share: float = 1.0
    spelled: frozenset[str] = frozenset()
    infinite: bool = False

    @property
    def mutable(self) -> dict[str, bytes]:
        """The files that are changed."""
        return {name: data for name, data in self.files.items() if isinstance(data, bytes) and data}
