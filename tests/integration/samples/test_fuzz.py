"""Malformed input for every reader: a seeded sample; and the harness finds what it looks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from tests.fuzz.harness import run
from tests.fuzz.reader import Reader
from tests.fuzz.readers import all_readers
from tests.fuzz.sample_files import json_file


def test_a_sample_of_malformed_input_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    report = run(all_readers(), inputs=400, seed=1, folder=tmp_path)
    assert not report.faults, "\n".join(map(str, report.faults))
    assert report.refused.total() > 100 and report.read.total() > 50


@pytest.mark.slow
def test_a_sample_for_files_beside_weights(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    readers = all_readers(tmp_path / "made")[-7:]
    report = run(readers, inputs=150, seed=1, folder=tmp_path)
    assert not report.faults, "\n".join(map(str, report.faults))


def naive(folder: Path) -> Any:
    """What a reader does that trusts its file."""
    value = json.loads((folder / "a.json").read_text())
    return [(str(row["name"]), int(row["number"])) for row in value]


def refusing_all(folder: Path) -> Any:
    """As above, but whatever goes wrong is an error of several lines."""
    try:
        return naive(folder)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"something is wrong: {error}") from None


def silent(folder: Path) -> Any:
    """As above, naming the file; but a wrong type is still coerced."""
    try:
        return naive(folder)
    except Exception as error:
        raise DataError(f"{folder.name}/a.json: {error}") from None


def test_the_harness_finds_exceptions_bad_messages_and_coercions(tmp_path: Path) -> None:
    files = {"a.json": json_file([{"name": "dog", "number": 7}, {"name": "cat", "number": 8}])}
    whys = {}
    for read in (naive, refusing_all, silent):
        report = run([Reader(read.__name__, files, read)], inputs=150, seed=0, folder=tmp_path)
        whys[read.__name__] = {fault.why.splitlines()[0][:40] for fault in report.faults}
    assert "Traceback (most recent call last):" in whys["naive"]
    assert any(why.startswith("the message names neither") for why in whys["refusing_all"])
    assert whys["silent"] and all("was coerced from" in why for why in whys["silent"])


def test_an_input_is_a_function_of_its_number_and_the_seed(tmp_path: Path) -> None:
    files = {"a.json": json_file([{"name": "dog", "number": 7}])}
    first, again = (run([Reader("naive", files, naive)], 60, 3, tmp_path).faults for _ in range(2))
    assert [fault.data for fault in first] == [fault.data for fault in again] and first
