"""A continued result must be continued with the same settings."""

from __future__ import annotations

import pytest

from common.errors import ArgumentError
from common.resume_guard import begin_or_continue, settings_path


def test_the_same_settings_continue_and_others_are_refused(tmp_path):
    result = tmp_path / "r.jsonl"
    begin_or_continue(result, {"mode": "windows", "n": 1})
    result.write_text("{}\n")
    begin_or_continue(result, {"mode": "windows", "n": 1})
    before = settings_path(result).read_text()
    with pytest.raises(ArgumentError, match=r"begun with mode windows, now it is image; add --restart"):
        begin_or_continue(result, {"mode": "image", "n": 1})
    assert settings_path(result).read_text() == before


def test_restart_or_a_result_that_is_gone_begins_anew(tmp_path):
    result = tmp_path / "r.jsonl"
    begin_or_continue(result, {"mode": "windows"})
    begin_or_continue(result, {"mode": "image"})  # nothing was written yet
    result.write_text("{}\n")
    begin_or_continue(result, {"mode": "windows"}, restart=True)
    assert "windows" in settings_path(result).read_text()
