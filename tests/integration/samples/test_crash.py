"""A seeded sample of the kills of `make crash`: every step, before some of its writes, mended by the next run."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from common.paths import ROOT
from tests.crash.steps import STEPS


@pytest.fixture(scope="module")
def said() -> str:
    """What the harness says of one kill of every step and way."""
    command = [sys.executable, "-m", "tests.crash.harness", "--sample", "1", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    return done.stdout + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler for the counter")
@pytest.mark.parametrize("step", list(STEPS))
def test_a_kill_before_any_write_loses_nothing(step: str, said: str) -> None:
    (row,) = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith(f"| {step} |")] or [[]]
    assert row, said
    events, kills, went_on, began_anew, lost = (int(cell.split()[0]) for cell in row[1:])
    assert events and kills == went_on + began_anew and lost == 0, said
