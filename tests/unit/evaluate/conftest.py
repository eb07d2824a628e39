"""Shared by the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.evaluate.scripts import Scripts


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Scripts:
    """Runs evaluation scripts."""
    return Scripts(monkeypatch, capsys, tmp_path)
