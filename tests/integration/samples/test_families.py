"""A sample of the table of families (`python -m tests.families.table`): everything that is tried, with two of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.families import rows
from tests.families.building import family_names, write_family
from tests.families.calling import Case
from tests.families.exceptions import CHANGES, changes_of
from tests.families.mining import EVAL_IMAGES, mini_pipeline
from tests.families.rows import Row, try_family
from tests.families.steps import COLUMNS, write_data
from tests.families.table import quiet, state, written

REFUSED = {"qwen3_vl": (), "kosmos-2": ("packed",)}
PIPELINE = (
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "smolvlm",
    "gemma3",
    "llava_onevision",
    "idefics3",
    "mistral3",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REFUSED))
def test_all_that_is_tried_with_a_family(name: str, tmp_path: Path) -> None:
    """Works, or is refused in one line where that is known; never a traceback."""
    quiet()
    write_data(tmp_path / "data")
    row = try_family(name, tmp_path / "data", tmp_path)
    assert set(row.cells) == {"loads", *COLUMNS} and not row.broken, row.reasons
    refused = tuple(column for column, said in row.cells.items() if said == "refused")
    assert refused == REFUSED[name], row.reasons
    assert all("\n" not in row.reasons[column] for column in refused)
    assert f"| {name} | " in written([row], state())


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINE)
def test_the_method_from_end_to_end(name: str, tmp_path: Path) -> None:
    """Captions are mined, scored, cut into spans and learnt from, and new captions are judged."""
    quiet()
    write_data(tmp_path / "data")
    case = Case(tmp_path / name, tmp_path / "data", tmp_path / "out")
    case.out.mkdir()
    write_family(case.base, name, changes_of(name))
    assert mini_pipeline(case) == EVAL_IMAGES


def test_a_row_that_computes_too_long_is_ended_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor's time, however long it waits for one; what it had found stays."""

    def endless(name: str, _data: Path, _folder: Path) -> Iterator[Row]:
        yield Row(name, {"loads": "yes"}, column="packed")
        while True:
            pass

    monkeypatch.setattr(rows, "columns_of", endless)
    row = rows.row_of("x", tmp_path, tmp_path, 1)
    assert row.cells == {"loads": "yes", "packed": rows.LATE} and row.broken
    assert 0.9 <= row.seconds <= 2 and "of a processor" in row.reasons["packed"]


def test_exceptions_are_of_families_that_there_are() -> None:
    """Some came after the oldest transformers that is supported; none is misspelt."""
    from importlib.metadata import version

    if version("transformers").startswith("5.23"):
        assert set(CHANGES) <= set(family_names())
