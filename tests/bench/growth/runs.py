"""One run of a step, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common.errors import DataError
from common.paths import ROOT
from tests.bench.growth.costs import Cost
from tests.bench.growth.steps import Step


def child(step: Step, items: int, core: int, what: str) -> dict[str, float]:
    """One run of a step on a core, to be timed (`time`) or counted (`count`). Raises DataError if it fails."""
    with tempfile.TemporaryDirectory(prefix="growth") as name:
        flags = step.write(Path(name), items)
        words = [word for flag_name, value in flags.items() for word in (f"--{flag_name}", str(value))]
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.growth.child", str(core), what, step.module, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise DataError(f"{step.module} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.rpartition("@")[2])
    return found


def calls(step: Step, items: int, core: int) -> int:
    """The function calls of a run, which no other process disturbs."""
    return int(child(step, items, core, "count")["calls"])


def cost(step: Step, items: int, core: int) -> Cost:
    """One run of a step in a process of its own."""
    found = child(step, items, core, "time")
    return Cost(items, *(round(found[name], 3) for name in ("cpu", "clock", "mib")))
