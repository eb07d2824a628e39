"""JSON as it is read: the standard's values come through, everything else is one line that names the place."""

from __future__ import annotations

import codecs
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.files.json_text import _may_repeat, as_record, parse_json
from common.files.storage import read_json, read_json_lines, read_record, read_text, read_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, width=32), TEXT)
FINITE = SCALARS.filter(lambda v: not isinstance(v, float) or math.isfinite(v))
VALUES = st.recursive(FINITE, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(TEXT, v, max_size=4)))


@dataclass(frozen=True)
class Row:
    """A record as any."""

    name: str
    place: int
    score: float
    sure: bool = False


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_the_standard_library_writes_is_read_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), "f") == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("1" * 5_000, "a number is too l"),
        ("1" * 400, "a number is too l"),
        ("1e999", "not a finite number"),
        ('"\\ud800"', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ("[1,\nNaN]", "f: entry 2: is not a finite"),
        ('[1, {"a": {"b": [2, -Infinity]}}]', "f: entry 2: a.b.1 is not a finite number"),
        ("[1,\n2", "f:2: not JSON"),
        ("{'a': 1}", "not JSON"),
        ("", "not JSON"),
    ],
)
@pytest.mark.parametrize("constants", [False, True])
def test_what_is_no_json_is_one_line(text: str, said: str, constants: bool) -> None:
    if constants and ("NaN" in text or "Infinity" in text):
        assert isinstance(parse_json(text.encode(), "f", constants=True), list)
        return
    with pytest.raises(DataError) as caught:
        parse_json(text.encode(), "f", constants)
    message = str(caught.value)
    assert said in message and message.startswith("f") and "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice in one object, as 1 and as 2; remove one"),
        ('[{"b": {"a": [], "a": 0}}]', "'a' stands twice"),
        ('{"a": 1, "\\u0061": 2}', "'a' stands twice"),
        ('{"a": "\\u003a", "b": 1, "b": 2}', "'b' stands twice"),  # the colon that was counted on
        ('{"a": NaN, "a": 1}', "'a' stands twice"),
        ('{"a": 1%s, "b": 1, "b": 2}' % ("0" * 308), "a number is too long"),
    ],
)  # fmt: skip
def test_a_key_with_two_values_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(text.encode(), "f", constants=True)
    assert str(caught.value).startswith("f: ") and said in str(caught.value)


@given(st.recursive(st.text(alphabet=":\\\"a\n\u00e9", max_size=6), lambda inner: st.lists(inner) | st.dictionaries(
    st.text(alphabet=":\"ab", max_size=3), inner), max_leaves=12), st.booleans())  # fmt: skip
def test_colons_in_text_are_not_taken_for_keys(value: Any, ascii_only: bool) -> None:
    """A repeated key is looked for by counting colons, so the count must be exact."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert not _may_repeat(data, value) and parse_json(data, "f") == value
    assert parse_json(b'{"a": [], "a": [], "b": %s}' % data, "f")["b"] == value  # twice the same contradicts nothing
    with pytest.raises(DataError, match="stands twice"):
        parse_json(b'{"a": [], "a": 0, "b": %s}' % data, "f")


def test_constants_do_not_open_the_door_to_the_rest() -> None:
    for bad in ('"\\ud800"', "1" * 5_000, "1" * 400, "[" * 5_000 + "]" * 5_000):
        with pytest.raises(DataError):
            parse_json(f"[NaN, {bad}]".encode(), "f", constants=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("place", True), ("place", "7"), ("place", 7.0), ("place", None), ("place", [7]),
        ("score", "1.5"), ("score", True), ("score", None), ("score", {}),
        ("name", 3), ("name", None), ("name", ["a"]), ("sure", 1), ("sure", "no"), ("sure", None),
    ],
)  # fmt: skip
def test_no_wrong_type_is_taken(tmp_path: Path, field: str, value: Any) -> None:
    rows = [{"name": "a", "place": 1, "score": 2}, {"name": "a", "place": 1, "score": 2.5, field: value}]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=rf"rows\.json: entry 2: {field} is .*, expected "):
        read_record(path, list[Row])


def test_a_record_is_read_with_its_defaults_and_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"name": "a", "place": 1, "score": 2, "more": [1]}')
    assert read_record(path, Row) == Row("a", 1, 2.0)


@pytest.mark.parametrize("value", [None, 3, "row", [], [1], {}, {"name": "a"}])
def test_another_top_level_is_named(value: Any) -> None:
    with pytest.raises(DataError, match=r"^f: (expected an object|no field (name|place))"):
        as_record(value, Row, "f")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}\r\n' + codecs.BOM_UTF8 + b'{"a": 2}\r{"a": 3}\n\n')
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]
    assert read_text(path).startswith('{"a": 1}\n')
    path.write_bytes(codecs.BOM_UTF8 + b"[1]")
    assert read_json(path) == [1]
    path.write_bytes(codecs.BOM_UTF8 + b"a: 1")
    assert read_yaml(path) == {"a": 1}


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        read_json(path)
    path.write_text('["é"]', encoding="latin-1")
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte 2\)"):
        read_json(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2024-13-45",
        "a: [1",
        "[" * 9_000,
        "a: !!python/object:x {}",
        "? {}\n: 1",
        "a: !!int 0o9",
        "\x00",
        "a: !!bool x",
        "a: 1\nb: {c: 1, c: 2}",
    ],
)
def test_yaml_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
