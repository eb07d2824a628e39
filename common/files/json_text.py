"""JSON as strictly as the standard has it, and values as the types that are meant: else one line that names the place.

No not-a-number and no infinity, no number beyond what a float holds, no half of a surrogate pair, no nesting without
end, no key twice in one object with two values. Converted to a type a bool is no number, a number in text is no number,
and 1.0 is no whole number.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from common.errors import DataError

T = TypeVar("T")
WholeNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # of a record: an id, a count, a place
Where = str  # a file as displayed, with the line or entry where there is one

NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
BARE_CONSTANT = re.compile(r"(?<![\w\"])-?(?:NaN|Infinity)(?![\w\"])")
DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
LONGEST_NUMBER = b"0" * 308  # so many digits a float holds; msgspec takes whole numbers of thousands
TOO_DEEP = "nested too deeply"


class RepeatedKeyError(DataError):
    """JSON by its form, and two values for one key."""


def parse_json(data: bytes, where: Where, constants: bool = False) -> Any:
    """The value that UTF-8 bytes spell.

    Args:
        data: one JSON text.
        constants: Python's NaN and Infinity are read as floats, for files of other people's in which they stand for
            "no answer".

    Raises DataError naming the line, or the key that stands twice.
    """
    value = _parsed(data, where, constants)
    if _may_repeat(data, value):
        _refuse_repeated(data, where)
    return value


def _parsed(data: bytes, where: Where, constants: bool) -> Any:
    try:
        if LONGEST_NUMBER in data.translate(DIGITS):
            return _carefully(data.decode(), constants)
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        text = data.decode("utf-8", "replace")
        if constants and BARE_CONSTANT.search(text):
            return _with_constants(text, where, error)
        raise DataError(why_not(text, where, error)) from None


def _may_repeat(data: bytes, value: Any) -> bool:
    """Whether a key may stand twice in one object: written out again, the value has fewer colons then.

    That costs a fraction of the reading; only a colon that is spelled as an escape would hide it.
    """
    spelled = b"\\u003a" in data or b"\\u003A" in data
    return spelled or data.count(b":") != msgspec.json.encode(value).count(b":")


def _refuse_repeated(data: bytes, where: Where) -> None:
    """Raise RepeatedKeyError for a key that stands twice in one object with two values: readers take either."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found and found[key] != value:
                raise RepeatedKeyError(
                    f"{where}: {shown(key)} stands twice in one object, as {shown(found[key])} and as {shown(value)}; "
                    "remove one"
                )
            found[key] = value
        return found

    try:
        json.loads(data, object_pairs_hook=once)
    except RecursionError:
        raise DataError(f"{where}: {TOO_DEEP}") from None


def _with_constants(text: str, where: Where, error: Exception) -> Any:
    try:
        return _carefully(text, constants=True)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise DataError(why_not(text, where, error)) from None


def _carefully(text: str, constants: bool) -> Any:
    """The value of a text in which a number may be too long, or is none. Raises ValueError, or msgspec's errors."""
    value = json.loads(text, parse_int=_bounded, parse_constant=None if constants else _no_constant)
    msgspec.json.encode(value)  # refuses halves of surrogate pairs; NaN is written as null
    return value


def _bounded(digits: str) -> int:
    """A whole number that a float can hold too. Raises ValueError for a longer one."""
    number = int(digits)
    if len(digits) > len(LONGEST_NUMBER):
        raise ValueError("a number is too long")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def why_not(text: str, where: Where, error: Exception) -> str:
    """One line on a text that the strict decoder refused; the standard library's reader finds the line."""
    try:
        value = json.loads(text, parse_int=_bounded)
    except json.JSONDecodeError as found:
        line = f":{found.lineno}" if found.lineno > 1 or not re.search(r":\d+$", where) else ""
        return f"{where}{line}: not JSON ({found.msg})"
    except RecursionError:
        return f"{where}: {TOO_DEEP}"
    except ValueError:
        return f"{where}: a number is too long"
    if isinstance(error, RecursionError):
        return f"{where}: {TOO_DEEP}"
    place = _place_of_constant(value)
    if place is not None:
        head, name = _spelled(place, where)
        spelled = "is not a finite number; NaN, Infinity and numbers beyond a float are not JSON"
        return f"{head}: {name} {spelled}" if name else f"{head}: {spelled}"
    return f"{where}: text that is no Unicode (half of a surrogate pair, or bytes that are not UTF-8)"


def _place_of_constant(value: Any) -> tuple[int | str, ...] | None:
    """Where the first NaN or infinity stands; None if there is none."""
    left: list[tuple[tuple[int | str, ...], Any]] = [((), value)]
    while left:
        place, found = left.pop()
        if isinstance(found, float) and not math.isfinite(found):
            return place
        inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
        left += [((*place, key), part) for key, part in reversed(list(inner))]
    return None


def as_record(value: Any, kind: type[T], where: Where) -> T:
    """A decoded value as a type: a dataclass, a TypedDict, `list[...]`, `dict[str, ...]`, ... Nothing is coerced.

    Fields that the type does not have are passed over. Raises DataError naming entry and field.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise DataError(_mismatch(str(error), value, where)) from None
    except RecursionError:
        raise DataError(f"{where}: {TOO_DEEP}") from None


def _mismatch(message: str, value: Any, where: Where) -> str:
    """msgspec's message in our words: `$[3].position` is 'entry 4: position'."""
    what, _, path = message.partition(" - at `")
    steps = re.findall(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)", path.removesuffix("`"))
    place = [int(index) if index.isdigit() else index or name for index, name in steps]
    head, name = _spelled(place, where)
    missing = re.match(r"Object missing required field `(.+?)`", what)
    if missing:
        field = f"{name}.{missing.group(1)}" if name else missing.group(1)
        return f"{head}: no field {field}{_fields(_at(value, place))}"
    expected = re.match(r"Expected (.+?)(?:, got `(\w+)`.*)?$", what)
    if expected is None:
        return f"{head}: {name + ' is not usable: ' if name else ''}{what.replace('`', '')}"
    wanted = re.sub(r"\w+", lambda m: NAMES.get(m.group(), m.group()), expected.group(1).replace("`", ""))
    wanted = wanted.replace(" | ", " or ")
    kind = NAMES.get(expected.group(2), expected.group(2)) or "another"
    found = kind if "..." in place else shown(_at(value, place))
    return f"{head}: {name} is {found}, expected {wanted}" if name else f"{head}: expected {wanted}, found {kind}"


def _spelled(place: Sequence[int | str], where: Where) -> tuple[str, str]:
    """A place in a value in words: file and entry (where the whole is a list), and the field in it ('' for all)."""
    if place and isinstance(place[0], int):
        return f"{where}: entry {place[0] + 1}", ".".join(map(str, place[1:]))
    return where, ".".join(map(str, place))


def _at(value: Any, keys: Sequence[int | str]) -> Any:
    """The value at a place; None where the place is not known."""
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _fields(value: Any) -> str:
    """The fields that an object has instead, for a message."""
    return f"; found {shown_names(value)}" if isinstance(value, Mapping) else ""


def shown_names(names: Any) -> str:
    """Up to eight names for a message, each cut to a few characters."""
    listed = [str(name)[:40] for name in names]
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "") if listed else "none"


def shown(value: Any) -> str:
    """A value in a message: bounded in length and depth, whatever it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)
