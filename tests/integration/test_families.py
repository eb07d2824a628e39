"""A sample of the table of families (`python -m tests.families.table`): everything that is tried, with two of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.families.building import family_names
from tests.families.exceptions import CHANGES
from tests.families.steps import COLUMNS, write_data
from tests.families.table import quiet, try_family, written

REFUSED = {"qwen3_vl": (), "mllama": ("packed", "checkpointing")}


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
    assert f"| {name} | " in written([row])


def test_exceptions_are_of_families_that_there_are() -> None:
    """Some came after the oldest transformers that is supported; none is misspelt."""
    from importlib.metadata import version

    if version("transformers").startswith("5.23"):
        assert set(CHANGES) <= set(family_names())
