"""Files that are never half written: atomic replacement, and JSON Lines that grow and resume by key."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import yaml

from common.errors import ArgumentError, DataError, first_line
from common.files.json_text import TOO_DEEP, as_record, parse_json, shown
from common.paths import display

T = TypeVar("T")
W = TypeVar("W")
TEMPORARY = ".tmp"  # ending of names that are on their way
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
REPLACED = ".old"  # before it, where a folder is on its way out


@contextmanager
def whole_file(path: Path | str, in_folder: bool = False) -> Iterator[Path]:
    """A temporary name beside `path`, to be written to: renamed where the block ends, removed where it fails.

    A symbolic link is written through. Raises OSError, also where a library has its own error for it.

    Args:
        in_folder: the temporary name lies in a folder of its own, for a library that makes further files beside it.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    temporary = made / path.name if in_folder else made
    try:
        if in_folder:
            made.mkdir()
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        if in_folder:
            made.rmdir()
    except BaseException as error:
        _remove(made)  # on a full disk what is left would keep it full
        number = _system_number(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Where a disk is full in the block, raise OSError with this path, unless it names one: plain writes do not."""
    try:
        yield
    except Exception as error:
        number = _system_number(error)
        if number not in NO_ROOM or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def _system_number(error: BaseException) -> int | None:
    """What the system refused, also where a library has an error of its own for it, or for what follows from it."""
    if isinstance(error, OSError):
        return error.errno
    code = re.search(r"\(os error (\d+)\)", str(error))  # as safetensors says it
    if code:
        return int(code[1])
    behind = error.__context__ if isinstance(error, RuntimeError) else None  # torch closes its archive then
    return behind.errno if isinstance(behind, OSError) and behind.errno in NO_ROOM else None


def _remove(path: Path) -> None:
    """A file or folder, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def remove_leftovers(path: Path | str) -> None:
    """Remove temporary files and folders that killed writers of `path` left; only for whoever holds its lock."""
    path = Path(os.path.realpath(path))
    ours = re.compile(rf"\.{re.escape(path.name)}\.\d+({re.escape(REPLACED)})?{re.escape(TEMPORARY)}")
    if path.parent.is_dir():
        for left in path.parent.iterdir():
            if ours.fullmatch(left.name):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a whole file at once: to a temporary name beside it, then rename."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(path: Path | str, value: Any) -> None:
    """Write one JSON value atomically, indented, non-ASCII kept. Raises ValueError for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def home(path: Path | str, flag: str) -> Path:
    """The path with `~` replaced. Raises ArgumentError, naming the flag, where there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ArgumentError(f"{flag} is '{path}', but there is no such home folder") from None


def require_file(path: Path | str, flag: str) -> Path:
    """The path, if it is a file. Raises DataError, which names the flag that it came from, if it is not."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file {display(path)} (from {flag}); give an existing file with {flag}")
    return path


def require_dir(path: Path | str, flag: str) -> Path:
    """The path, if it is a folder. Raises DataError, which names the flag that it came from, if it is not."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"no folder {display(path)} (from {flag}); give an existing folder with {flag}")
    return path


def read_bytes(path: Path | str) -> bytes:
    """The file's bytes without a UTF-8 byte order mark. Raises DataError for a file that is missing or unreadable."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(f"{display(path)} is a device or a pipe, which cannot be read twice; write it to a file")
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise DataError(f"no file {display(path)}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {display(path)}: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path | str) -> str:
    """The file's text, line ends as `\\n`. Raises DataError for a missing file or one that is not UTF-8."""
    return _decoded(read_bytes(path), path).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes, path: Path | str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{display(path)} is {_binary_kind(data[:6], error.start)}") from None


def _binary_kind(start: bytes, byte: int) -> str:
    """What a file that should be text is, and what to do."""
    if start == b"\x93NUMPY" or start[:1] == b"\x80" or start[:2] == b"PK":
        return "a NumPy array, a pickle or an archive, which may run code and is never read; write it as JSON Lines"
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16 text; convert it to UTF-8 first"
    return f"not UTF-8 text (byte {byte}); convert it first"


def read_json(path: Path | str, constants: bool = False) -> Any:
    """One JSON value; NaN and Infinity only with `constants`. Raises DataError naming the line that does not parse."""
    data = read_bytes(path)
    try:
        return parse_json(data, display(path), constants)
    except DataError:
        _decoded(data, path)  # a file of another kind has a message of its own
        raise


def read_record(path: Path | str, kind: type[T]) -> T:
    """The JSON file as a type: a dataclass, `list[...]`, `dict[str, ...]`, ... (:func:`json_text.as_record`).

    Raises DataError naming file, entry and field for anything that is not of the type; nothing is coerced.
    """
    return as_record(read_json(path), kind, display(path))


def read_json_lines(
    path: Path | str, constants: bool = False, whole_lines: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each non-empty line; with `whole_lines` not for one that does not end.

    Raises DataError naming file and line.
    """
    data = read_bytes(path)
    if whole_lines:
        data = data[: data.rfind(b"\n") + 1]
    name = display(path)
    for number, line in enumerate(data.splitlines(), start=1):
        line = line.removeprefix(codecs.BOM_UTF8)  # of a file that was appended to another
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            value = parse_json(line, where, constants)
        except DataError:
            _decoded(data, path)
            raise
        if not isinstance(value, dict):
            raise DataError(f"{where}: expected an object, found {shown(value)}")
        yield number, value


class UniqueKeys(yaml.SafeLoader):
    """Plain types, and no key twice in one mapping, of which YAML's reader would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As the base's. Raises MarkedYAMLError."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{shown(key.value)} stands twice", problem_mark=key.start_mark)
            if name is not None:
                seen.add(name)
        return node


def read_yaml(path: Path | str) -> Any:
    """One YAML value of plain types. Raises DataError naming the line where it does not parse, or says a key twice."""
    text = read_text(path)
    try:
        return yaml.load(text, UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        why = getattr(error, "problem", None) or first_line(error)
        raise DataError(f"{display(path)}{line}: not YAML ({why})") from None
    except RecursionError:
        raise DataError(f"{display(path)}: {TOO_DEEP}") from None
    except (ValueError, OverflowError, TypeError, LookupError) as error:  # what its constructors let through
        raise DataError(f"{display(path)}: a value is not what it says ({first_line(error)}); quote it") from None


class ResumableLines:
    """A JSON Lines file that a killed job continues.

    Records are appended in the order of the work, those of one call at once. Nothing is touched before the first of
    them, or before :meth:`open`; then a last line that a kill cut short is removed. The finished file is therefore byte
    for byte that of an undisturbed run.

    Args:
        path: the file; created with its folders.
        key: identity of a record (as a dict); records whose key is in `done` need not be made again.
        restart: forget an existing file.
    """

    def __init__(self, path: Path | str, key: Callable[[Mapping[str, Any]], str], restart: bool = False) -> None:
        self.path = Path(path)
        self.restart = restart
        self.done: set[str] = set()
        self._file: FileIO | None = None
        if self.path.exists() and not restart:
            self.done = {key(value) for _, value in read_json_lines(self.path, whole_lines=True)}

    def share(self, work: Sequence[W], order: Iterable[str]) -> list[W]:  # noqa: ARG002
        """What of `work` this process does: all of it, where the file is not made by several (`common.outputs`).

        Args:
            work: what is to be done, the same list in every process.
            order: keys of all records, in the order that one process would write them in.
        """
        return list(work)

    def open(self) -> FileIO:
        """The file, ready for the next record; made if it is not there. Raises OSError."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
            self._file.truncate(0 if self.restart else _whole(self._file))
        return self._file

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records, so that a later kill loses none of them. Raises OSError; then none was appended."""
        lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records]
        data = memoryview("".join(lines).encode())
        if not data:
            return
        file = self.open()
        before = os.fstat(file.fileno()).st_size
        try:
            while data:
                data = data[file.write(data) or 0 :]
        except OSError as error:
            file.truncate(before)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def __enter__(self) -> ResumableLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _whole(file: FileIO) -> int:
    """Bytes up to the end of the last line that ends."""
    file.seek(0)
    return file.readall().rfind(b"\n") + 1
