"""Other people's tables as rows: JSON Lines, JSON lists, objects by id, CSV, TSV and Excel sheets.

Rows keep the types that the file gives; what a column means is decided in :mod:`evaluate.answers.columns`.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import DataError, MissingDependencyError
from common.files.json_text import RepeatedKeyError
from common.files.storage import read_json, read_json_lines, read_text
from common.paths import display

Row = Mapping[str, Any]
Rows = list[tuple[str, Row]]  # (place for messages, columns)

SEPARATORS = {".tsv": "\t", ".csv": ","}
LISTS = ("logs", "samples", "results", "annotations", "data", "answers", "predictions")  # keys that may hold the rows
BOOLEANS = {"True": True, "False": False, "TRUE": True, "FALSE": False}


def read_rows(path: Path | str) -> Rows:
    """All rows of a file, in order. Raises DataError naming file and line, MissingDependencyError for `.xlsx`."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".xlsx":
        return _checked(_sheet(path), path)
    if ending in SEPARATORS:
        return _checked(_separated(path, SEPARATORS[ending]), path)
    start = read_text(path).lstrip()[:1]
    if not start:
        raise DataError(f"{display(path)} is empty")
    return _checked(_json(path, start), path)


def _checked(rows: Rows, path: Path) -> Rows:
    if not rows:
        raise DataError(f"{display(path)} holds no rows")
    return rows


def _json(path: Path, start: str) -> Rows:
    if start == "[":
        return _entries(read_json(path, constants=True), path)
    if start == "{":
        value = _whole(path)
        if value is not None:
            return _of_object(value, path)
    name = display(path)
    return [(f"{name}:{number}", value) for number, value in read_json_lines(path, constants=True)]


def _whole(path: Path) -> Mapping[str, Any] | None:
    """The one object that the file is; None for JSON Lines of several. Raises RepeatedKeyError."""
    try:
        value = read_json(path, constants=True)
    except RepeatedKeyError:
        raise
    except DataError:
        return None
    return value if isinstance(value, Mapping) else None


def _entries(entries: Sequence[Any], path: Path) -> Rows:
    rows: Rows = []
    name = display(path)
    for number, entry in enumerate(entries, start=1):
        where = f"{name}: entry {number}"
        if not isinstance(entry, Mapping):
            raise DataError(f"{where}: expected an object, found {type(entry).__name__}")
        rows.append((where, entry))
    return rows


def _of_object(value: Mapping[str, Any], path: Path) -> Rows:
    """Rows in a list under a known key, rows by id, or the object as the only row. Raises DataError for two lists."""
    lists = [key for key in LISTS if _is_rows(value.get(key))]
    if len(lists) > 1:
        raise DataError(f"{display(path)}: rows under '{lists[0]}' and under '{lists[1]}'; keep one list")
    if lists:
        return _entries(value[lists[0]], path)
    if value and all(isinstance(entry, Mapping) for entry in value.values()):
        return _by_id(value, path)
    return [(f"{display(path)}:1", value)]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _by_id(value: Mapping[str, Row], path: Path) -> Rows:
    """Rows of `{id: {...}}`; the id becomes a column where the row has none. Raises DataError for columns of values."""
    inner = [set(entry) for entry in value.values()]
    if len(inner) > 1 and all(keys == inner[0] for keys in inner) and all(k.isdigit() for k in inner[0]):
        raise DataError(f"{display(path)}: a JSON object of columns; write rows instead (to_json(orient='records'))")
    name = display(path)
    return [(f"{name}: entry {key}", {"question_id": key, **entry}) for key, entry in value.items()]


def _separated(path: Path, separator: str) -> Rows:
    """A table with a header; empty cells are null. Raises DataError naming the line."""
    csv.field_size_limit(sys.maxsize)  # some tables carry whole images as text
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise DataError(f"{display(path)}:{reader.line_num}: not a table ({error})") from None
    if not lines:
        raise DataError(f"{display(path)} is empty")
    names = _header(lines[0][1], path)
    rows: Rows = []
    for number, cells in lines[1:]:
        where = f"{display(path)}:{number}"
        if len(cells) != len(names):
            raise DataError(f"{where}: {len(cells)} cells under {len(names)} columns; quote cells that hold separators")
        rows.append((where, {name: cell or None for name, cell in zip(names, cells, strict=True)}))
    return _typed(rows, names)


def _typed(rows: Rows, names: Iterable[str]) -> Rows:
    """Rows whose purely true/false columns are booleans, and `nan`, as pandas spells a missing value, is null."""
    columns = {name: {row[name] for _, row in rows} - {None, "nan", "NaN"} for name in names}
    booleans = {name for name, cells in columns.items() if cells and cells <= BOOLEANS.keys()}
    return [(where, {n: _cell(c, n in booleans) for n, c in row.items()}) for where, row in rows]


def _cell(cell: str | None, boolean: bool) -> Any:
    if cell is None or cell in ("nan", "NaN"):
        return None
    return BOOLEANS[cell] if boolean else cell


def _header(cells: Sequence[Any], path: Path) -> list[str]:
    """Column names. Raises DataError for a name that is no text or stands twice."""
    names = [str(cell).strip() if cell is not None else "" for cell in cells]
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{display(path)}: two columns are called '{name}'; rename or remove one")
    if not any(names):
        raise DataError(f"{display(path)}: the first line names no columns")
    return [name or f"column {number}" for number, name in enumerate(names, start=1)]


def _sheet(path: Path) -> Rows:
    """The one sheet of an Excel file that holds anything; empty and error cells are null. Raises DataError."""
    try:
        import openpyxl
    except ImportError:
        raise MissingDependencyError(
            f'{display(path)}: Excel tables need openpyxl; pip install "efuf[tables]"'
        ) from None
    read_only = {"read_only": True, "data_only": False}
    try:
        book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()), **read_only)
        sheets = {sheet.title: list(_cells(sheet)) for sheet in book.worksheets}
    except Exception as error:  # zip, XML and openpyxl's own errors share no base
        raise DataError(
            f"{display(path)}: not an Excel table ({type(error).__name__}); save it as .xlsx anew"
        ) from None
    filled = {title: lines for title, lines in sheets.items() if lines}
    if len(filled) != 1:
        found = ", ".join(filled) or "none"
        raise DataError(f"{display(path)}: expected one sheet with data, found {found}; save the results alone")
    (lines,) = filled.values()
    names = _header(lines[0][1], path)
    return [
        (f"{display(path)}: row {number}", dict(zip(names, [*cells, *[None] * len(names)], strict=False)))
        for number, cells in lines[1:]
    ]


def _cells(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """(row number, values) of each row that is not empty; the text of a formula stands for it, as written."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        values = [None if cell.data_type == "e" or cell.value == "" else cell.value for cell in row]
        if any(value is not None for value in values):
            yield number, values
