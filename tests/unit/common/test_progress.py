"""Of several processes one speaks."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import LONGEST_MESSAGE, DataError, plain
from common.progress import announce, bar, say


@pytest.mark.parametrize(("rank", "heard"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_speaks_for_all(
    rank: str | None, heard: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    announce("about a minute")
    assert list(bar([1, 2], "work", 2)) == [1, 2]
    said = capsys.readouterr().err
    assert ("about a minute" in said) == heard and ("work" in said) == heard


NASTY = "\x1b[31mred\x07\x9b2J \u202egpj\u2028 a\tb\r\n\ud800"


def test_what_data_bring_along_never_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors, announcements, tables and the names of bars go through one cleaning."""
    announce(f"split {NASTY}")
    say(f"| {NASTY} |\n| second row |")
    list(bar([1], NASTY, 1))
    said = capsys.readouterr()
    assert "second row" in said.out.split("\n")[-2]
    for shown in (said.out, said.err.replace("\r", ""), f"{DataError(NASTY)} second"):
        assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl") and c != "\n"]
        assert "\\x1b[31mred\\x07\\x9b2J" in shown


@given(st.text(st.characters(), max_size=2000))
def test_any_error_is_one_line_of_bounded_length(text: str) -> None:
    shown = str(DataError(text))
    assert len(shown) <= LONGEST_MESSAGE
    assert shown.splitlines() in ([], [shown])
    assert shown.isprintable() or not shown


def test_a_cut_message_keeps_place_and_advice() -> None:
    shown = str(DataError("a.jsonl:3: " + "x" * 5000 + "; give --pairing id"))
    assert shown.startswith("a.jsonl:3: xxx") and shown.endswith("; give --pairing id")
    assert plain("naïve café 猫 🐈") == "naïve café 猫 🐈"
