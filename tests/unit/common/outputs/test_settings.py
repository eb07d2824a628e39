"""A continued result must be continued with the same settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import ArgumentError, DataError
from common.outputs.settings import check_settings, note_settings, settings_path


def test_the_same_settings_continue_and_others_are_refused(tmp_path: Path) -> None:
    result = tmp_path / "r.jsonl"
    note_settings(result, {"mode": "windows", "n": 1})
    before = settings_path(result).read_text()
    check_settings(result, {"mode": "windows", "n": 1})
    with pytest.raises(ArgumentError, match=r"begun with mode windows, now it is image; add --restart"):
        check_settings(result, {"mode": "image", "n": 1})
    assert settings_path(result).read_text() == before


def test_what_begins_anew_keeps_no_earlier_setting(tmp_path: Path) -> None:
    result = tmp_path / "r.jsonl"
    note_settings(result, {"mode": "windows", "n": 1})
    note_settings(result, {"mode": "image"})
    assert json.loads(settings_path(result).read_text()) == {"mode": "image"}


def test_a_setting_that_an_earlier_version_did_not_note_is_passed_over_and_noted_from_now_on(tmp_path: Path) -> None:
    result = tmp_path / "r.jsonl"
    settings_path(result).write_text('{"mode": "windows", "dtype": "auto"}')
    now = {"mode": "windows", "dtype": "torch.float32", "load_in_4bit": False}
    check_settings(result, now)
    note_settings(result, now, keep=True)
    with pytest.raises(ArgumentError, match=r"begun with load_in_4bit False, now it is True"):
        check_settings(result, {"mode": "windows", "load_in_4bit": True})


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_a_note_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    result = tmp_path / "r.jsonl"
    settings_path(result).write_text(text)
    with pytest.raises(DataError, match=r"r\.jsonl\.settings\.json"):
        check_settings(result, {"mode": "windows"})
