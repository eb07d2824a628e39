"""Files that are never half written: atomic replacement, and JSON Lines that grow and resume by key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from common.errors import DataError
from common.paths import display


def write_text(path: Path | str, text: str) -> None:
    """Write a whole file at once: to a temporary name beside it, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path | str, value: Any) -> None:
    """Write one JSON value atomically, indented, non-ASCII kept. Raises ValueError for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def require_file(path: Path | str, flag: str) -> Path:
    """The path, if it is a file; otherwise a DataError that names the flag it came from."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file {display(path)} (from {flag}); give an existing file with {flag}")
    return path


def require_dir(path: Path | str, flag: str) -> Path:
    """The path, if it is a folder; otherwise a DataError that names the flag it came from."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"no folder {display(path)} (from {flag}); give an existing folder with {flag}")
    return path


def read_text(path: Path | str) -> str:
    """The file's text. Raises DataError for a missing file or one that is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no file {display(path)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{display(path)} is {_binary_kind(Path(path), error.start)}") from None


def _binary_kind(path: Path, byte: int) -> str:
    """What a file that should be text is, and what to do."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY" or start[:1] == b"\x80" or start[:2] == b"PK":
        return "a NumPy array, a pickle or an archive, which may run code and is never read; write it as JSON Lines"
    return f"not UTF-8 text (byte {byte}); convert it first"


def read_json(path: Path | str) -> Any:
    """One JSON value. Raises DataError with line and column where it does not parse."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{display(path)}:{error.lineno}: not JSON ({error.msg})") from None


def read_json_lines(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each non-empty line. Raises DataError naming file and line."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{display(path)}:{number}: not JSON ({error.msg})") from None
        if not isinstance(value, dict):
            raise DataError(f"{display(path)}:{number}: expected an object, found {type(value).__name__}")
        yield number, value


class ResumableLines:
    """A JSON Lines file that a killed job continues.

    Records are appended in the order of the work and flushed one by one. On opening, a last line that the kill cut
    short is removed. The finished file is therefore byte for byte that of an undisturbed run.

    Args:
        path: the file; created with its folders.
        key: identity of a record (as a dict); records whose key is in `done` need not be made again.
        restart: forget an existing file.
    """

    def __init__(self, path: Path | str, key: Callable[[Mapping[str, Any]], str], restart: bool = False) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if restart:
            self.path.unlink(missing_ok=True)
        self._drop_torn_line()
        self.done: set[str] = set()
        if self.path.exists():
            self.done = {key(value) for _, value in read_json_lines(self.path)}
        self._file = self.path.open("a", encoding="utf-8")

    def _drop_torn_line(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records and flush, so that a later kill loses none of them."""
        for record in records:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def __enter__(self) -> ResumableLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
