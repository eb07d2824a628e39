"""One JSON value as an answer, a label, an id or a name: by its type, never by what `str()` makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from common.errors import DataError, plain
from common.models.text.thoughts import after_thought

_PICTURE = ("<PIL.", "data:image")  # the picture itself, as Python or a browser spells it
LONGEST_NAME = 400  # a longer "image" is the picture itself, as text


def is_missing(value: Any) -> bool:
    """Whether a value says that nothing is there: null or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def alone(value: Any) -> Any:
    """What a list of one holds, at any depth (`[["Yes"]]`); anything else as it is."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def shown(value: Any) -> str:
    """A value for messages."""
    return plain(repr(value), 60)


def answer_text(value: Any, where: str, column: str, yes_no: bool) -> str | None:
    """The model's words, behind a thought that it put first; None where there are none (null, not a number, blank).

    Args:
        yes_no: the benchmark asks yes or no: true and false are answers, numbers are not. Elsewhere the other way
            round.

    Raises DataError for a value that is no text and cannot be read as one without guessing.
    """
    value = alone(value)
    if is_missing(value):
        return None
    if isinstance(value, bool) and yes_no:
        return "Yes" if value else "No"
    text = value if isinstance(value, str) else None if yes_no else number_text(value)
    if text is None:
        wanted = "text, true or false" if yes_no else "text or a number"
        raise DataError(f"{where}: {column} is {shown(value)}, expected {wanted} (null where there is no answer)")
    text = after_thought(text)
    return text if text.strip() else None


def number_text(value: Any) -> str | None:
    """A number as a person writes it (3, not 3.0); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(int(value)) if float(value).is_integer() else repr(value)


def id_text(value: Any, where: str, column: str) -> str:
    """An id: text or a whole number; "" where there is none. Raises DataError for anything else."""
    if is_missing(value):
        return ""
    text = value.strip() if isinstance(value, str) else number_text(value)
    if text is None or (isinstance(value, float) and not value.is_integer()):
        raise DataError(f"{where}: {column} is {shown(value)}, expected a number or text")
    return text


def plain_text(value: Any, where: str, column: str) -> str:
    """A question, split or label; "" where there is none. Raises DataError for a value that is no text."""
    value = alone(value)
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {column} is {shown(value)}, expected text")
    return value


def image_text(value: Any, where: str, column: str) -> str:
    """A file name or number of an image; "" where there is none, or where the picture itself stands there as text.

    Raises DataError for a value that names no image.
    """
    value = alone(value)
    if isinstance(value, dict) and "path" in value:  # as the datasets library writes images
        value = value["path"]
    if is_missing(value) or (isinstance(value, str) and value.startswith(_PICTURE)):
        return ""
    text = value if isinstance(value, str) else number_text(value)
    if text is None:
        raise DataError(f"{where}: {column} is {shown(value)}, expected the name of an image")
    return "" if len(text) > LONGEST_NAME else text


def one_of(entry: Mapping[str, Any], names: tuple[str, ...], where: str, read: Callable[[Any, str, str], str]) -> str:
    """What the columns `names` of a question file say, read by one of the functions above; "" where none says a thing.

    Raises DataError for two that differ: no column is ever taken because another one is unusable.
    """
    found = {name: read(entry[name], where, name).strip() for name in names if name in entry}
    first, *others = found or {"": ""}
    for other in others:
        if found[other] != found[first]:
            raise DataError(
                f"{where}: {first} and {other} differ ({shown(entry[first])}, {shown(entry[other])}); remove one"
            )
    return found.get(first, "")


def free_text(value: Any, where: str, column: str) -> str:
    """Text or a number as text, such as a right answer; "" for null. Raises DataError for anything else."""
    return answer_text(value, where, column, yes_no=False) or ""


def yes_no_text(value: Any, where: str, column: str) -> str:
    """A right answer that may be true or false; "" for null. Raises DataError for anything else."""
    return answer_text(value, where, column, yes_no=True) or ""
