"""How files are named in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.paths import display


def test_a_path_is_shown_as_seen_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the user went elsewhere, and where the folder is gone."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    file = tmp_path / "a" / "b" / "c.json"
    monkeypatch.chdir(tmp_path)
    assert display(file) == display("a/b/c.json") == display("./a/../a/b/c.json") == "a/b/c.json"
    monkeypatch.chdir(tmp_path / "a")
    assert display(file) == "b/c.json" and display("b/c.json") == "b/c.json"
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert display(tmp_path) == str(tmp_path)
    (tmp_path / "a" / "b").rmdir()
    assert display(file) == str(file) and display("c.json") == "c.json"
