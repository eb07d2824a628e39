"""Of several processes one speaks."""

from __future__ import annotations

import pytest

from common.progress import announce, bar


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
