"""A continued result must be continued with the same settings."""

from __future__ import annotations

import pytest

from common.errors import ArgumentError, DataError
from common.outputs.settings import begin_or_continue, settings_path


def test_the_same_settings_continue_and_others_are_refused(tmp_path):
    result = tmp_path / "r.jsonl"
    begin_or_continue(result, {"mode": "windows", "n": 1})
    result.write_text("{}\n")
    begin_or_continue(result, {"mode": "windows", "n": 1})
    before = settings_path(result).read_text()
    with pytest.raises(ArgumentError, match=r"begun with mode windows, now it is image; add --restart"):
        begin_or_continue(result, {"mode": "image", "n": 1})
    assert settings_path(result).read_text() == before


def test_a_result_that_is_gone_begins_anew(tmp_path):
    result = tmp_path / "r.jsonl"
    begin_or_continue(result, {"mode": "windows"})
    begin_or_continue(result, {"mode": "image"})  # nothing was written yet
    assert "image" in settings_path(result).read_text() and "windows" not in settings_path(result).read_text()


def test_a_setting_that_an_earlier_version_did_not_note_is_passed_over_and_noted_from_now_on(tmp_path):
    result = tmp_path / "r.jsonl"
    result.write_text("{}\n")
    settings_path(result).write_text('{"mode": "windows", "dtype": "auto"}')
    begin_or_continue(result, {"mode": "windows", "dtype": "torch.float32", "load_in_4bit": False})
    with pytest.raises(ArgumentError, match=r"begun with load_in_4bit False, now it is True"):
        begin_or_continue(result, {"mode": "windows", "load_in_4bit": True})


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_a_note_that_is_no_object_is_named(tmp_path, text):
    result = tmp_path / "r.jsonl"
    result.write_text("{}\n")
    settings_path(result).write_text(text)
    with pytest.raises(DataError, match=r"r\.jsonl\.settings\.json"):
        begin_or_continue(result, {"mode": "windows"})
