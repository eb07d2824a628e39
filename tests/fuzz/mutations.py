"""Seeded mutations of valid files: bytes, lines, and values of JSON of whatever type, place and depth.

A swap puts a value of another type where one was read. It also names its twin: the value that a reader would see if it
coerced the wrong type (`str(None)`, `int("7")`). A reader that takes the wrong type and finds what the twin gives has
coerced it.
"""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

NUMBER = 987654321
AGAIN = "@again@"  # before a key that is to stand a second time
LITERALS = {  # what json cannot write: the word that stands for it, and its text
    "@deep@": "[" * 3000 + "]" * 3000,
    "@open@": '{"a":' * 3000,
    "@digits@": "1" * 5000,
    "@long@": "9" * 400,
    "@half@": '"\\ud800"',
    "@infinite@": "1e999",
}
WRONG: tuple[Any, ...] = (
    None, True, False, NUMBER, 0.5, -1, 2**70, str(NUMBER), "", "no", [], {}, ["zq"], {"zq": 1}, [[1]],
    float("nan"), float("inf"), "\x1b[31m", "x" * 5000, *LITERALS,
)  # fmt: skip


PIECES = (b"\0", b"\xff", b"\n", b"\r", b"\t", b'"', b"{", b"]", b",", b" ### ", b"\x1b[2J", b"\xc3\xa9")
OTHERS = (b"\x93NUMPY\x01", b"PK\x03\x04", b"\x80\x04.", b"null", b"[]", b"{}", b"7")


@dataclass(frozen=True)
class Mutated:
    """What was made of a file.

    Attributes:
        kind: of mutation.
        data: the file now.
        twin: the file with the coerced value in the same place; None if the mutation is no swap of types.
        field: the key whose value was swapped, the nearest one above it.
    """

    kind: str
    data: bytes
    twin: bytes | None = None
    field: str = ""


def mutated(chance: random.Random, data: bytes, name: str) -> Mutated:
    """One mutation of a valid file; its values are changed where it is JSON."""
    lines = name.endswith(".jsonl") or (name.endswith(".json") and data.count(b"\n{") > 0)
    if name.endswith((".json", ".jsonl")) and chance.random() < 0.75:
        return _values(chance, data, lines)
    kind = chance.choice(list(BYTES))
    return Mutated(kind, BYTES[kind](chance, data))


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(chance: random.Random, data: bytes) -> bytes:
    out = bytearray(data or b"0")
    for _ in range(chance.randint(1, 4)):
        out[chance.randrange(len(out))] = chance.randrange(256)
    return bytes(out)


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    what = chance.choice(
        [b"\0", b"\xff", b"\n", b"\r", b"\t", b'"', b"{", b"]", b",", b" ### ", b"\x1b[2J", b"\xc3\xa9"]
    )
    return data[:at] + what + data[at:]


def _remove(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randint(1, 40) :]


def _repeat_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"\n".join(lines)


def _swap_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    chance.shuffle(lines)
    return b"\n".join(lines)


BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "insert": _insert,
    "remove": _remove,
    "repeat line": _repeat_line,
    "shuffle lines": _swap_lines,
    "byte order mark": lambda _, data: codecs.BOM_UTF8 + data,
    "utf-16": lambda _, data: data.decode("utf-8", "replace").encode("utf-16"),
    "latin-1": lambda _, data: (data.decode("utf-8", "replace") + "é").encode("latin-1", "replace"),
    "empty": lambda *_: b"",
    "blank": lambda *_: b" \n\n",
    "another file": lambda chance, _: chance.choice(
        [b"\x93NUMPY\x01", b"PK\x03\x04", b"\x80\x04.", b"null", b"[]", b"{}", b"7"]
    ),
    "endless": lambda chance, _: chance.choice(list(LITERALS.values())).encode(),
}


def _values(chance: random.Random, data: bytes, lines: bool) -> Mutated:
    text = data.decode()
    document = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    places = list(_places(document))[1 if lines else 0 :]
    kind = chance.choices(list(VALUES), weights=[weight for _, weight in VALUES.values()])[0]
    return VALUES[kind][0](chance, document, chance.choice(places), lines)


Place = tuple[int | str, ...]


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every place in a document, itself first."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _places(part, (*place, key))


def _at(document: Any, place: Place) -> Any:
    for key in place:
        document = document[key]
    return document


def _with(document: Any, place: Place, value: Any) -> Any:
    """A copy of the document with another value at a place."""
    if not place:
        return value
    copy = json.loads(json.dumps(document))
    _at(copy, place[:-1])[place[-1]] = value
    return copy


def _written(document: Any, lines: bool) -> bytes:
    parts = [json.dumps(one) for one in document] if lines and isinstance(document, list) else [json.dumps(document)]
    text = "\n".join(parts) + "\n"
    for word, literal in LITERALS.items():
        text = text.replace(json.dumps(word), literal)
    return text.encode()


def _twin_of(before: Any, after: Any) -> Any:
    """What coercion to the type of `before` would make of `after`; None if it fails, or the type is the same."""
    if type(before) is type(after) or before is None or (after is None and not isinstance(before, str)):
        return None
    try:
        return type(before)(after) if isinstance(before, str | int | float) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _swap(chance: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    before, after = _at(document, place), chance.choice(WRONG)
    data = _written(_with(document, place, after), lines)
    field = next((key for key in reversed(place) if isinstance(key, str)), "")
    twin = None if isinstance(after, str) and after in LITERALS else _twin_of(before, after)
    if twin is None or twin == before or (isinstance(before, float) and isinstance(after, int) and after is not True):
        return Mutated("swap", data, field=field)  # a whole number is a number
    return Mutated("swap", data, _written(_with(document, place, twin), lines), field)


def _drop(_: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    copy = json.loads(json.dumps(document))
    if place:
        del _at(copy, place[:-1])[place[-1]]
    return Mutated("drop", _written(copy if place else [], lines))


def _rename(chance: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    copy = json.loads(json.dumps(document))
    if place and isinstance(place[-1], str):
        above = _at(copy, place[:-1])
        name = chance.choice([place[-1].upper(), place[-1] + " ", "", "7", "\ud800", "²", "9" * 5000, *above])
        above[name] = above.pop(place[-1])
    return Mutated("rename", _written(copy, lines))


def _twice(_: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    copy = json.loads(json.dumps(document))
    above = _at(copy, place[:-1]) if place else copy
    if isinstance(above, list) and place:
        above.append(_at(copy, place))
    return Mutated("twice", _written(copy, lines))


def _again(chance: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    """A key twice in one object, with two values; the twin is what a reader sees that takes the last."""
    if not place or not isinstance(place[-1], str):
        return _twice(chance, document, place, lines)
    value, key = _other(_at(document, place)), place[-1]
    last = _with(document, place, value)
    both = _with(document, (*place[:-1], AGAIN + key), value)
    data = _written(both, lines).replace(json.dumps(AGAIN + key).encode(), json.dumps(key).encode())
    return Mutated("key again", data, _written(last, lines), key)


def _other(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else [] if value is None else type(value)()


def _wrap(chance: random.Random, document: Any, place: Place, lines: bool) -> Mutated:
    value = _at(document, place)
    return Mutated("wrap", _written(_with(document, place, chance.choice([[value], {"a": value}])), lines))


VALUES: dict[str, tuple[Callable[[random.Random, Any, Place, bool], Mutated], int]] = {
    "swap": (_swap, 10),
    "drop": (_drop, 2),
    "rename": (_rename, 2),
    "twice": (_twice, 1),
    "wrap": (_wrap, 2),
    "key again": (_again, 1),
}
