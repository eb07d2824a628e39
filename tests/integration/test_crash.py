"""A seeded sample of the kills of `make crash`: every step, before some of its writes, mended by the next run."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from common.paths import ROOT
from tests.crash.steps import STEPS

GROUPS = (
    ("draw", "format", "judge", "compare", "report", "objects", "mme", "gqa", "scienceqa", "qbench"),
    ("caption", "caption_eval", "pope", "score"),
    ("train", "train_npo", "train_best", "export"),
)


def test_every_step_is_in_one_group() -> None:
    assert sorted(name for group in GROUPS for name in group) == sorted(STEPS)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler for the counter")
@pytest.mark.parametrize("steps", GROUPS, ids="-".join)
def test_a_kill_before_any_write_loses_nothing(steps: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.crash.harness", "--sample", "1", "--seed", "5", "--steps", *steps]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "lost" in done.stdout.splitlines()[-1]
