"""The bench of growth: its exponent, and a run at a size that says nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import DataError
from common.paths import ROOT
from tests.bench.bench_growth import CROWD, GrowthArguments, bench
from tests.bench.growth.costs import FACTORS, Cost, Growth
from tests.bench.growth.steps import STEPS
from tests.forks.scripts import run


@pytest.mark.parametrize("power", [0.5, 1.0, 1.15, 2.0])
@pytest.mark.parametrize("fixed", [0.0, 10.0])
def test_the_exponent_is_that_of_the_growing_part(power: float, fixed: float) -> None:
    costs = tuple(Cost(n, fixed + 0.5 * n**power, 0.0, 100.0) for n in FACTORS)
    assert Growth("x", costs).exponent("cpu") == pytest.approx(power)
    assert Growth("x", costs).exponent("mib") == 0


def test_a_step_is_run_and_recorded(tmp_path: Path) -> None:
    record = bench(GrowthArguments(steps="mme", record=str(tmp_path / "growth.json"), scale=0.0025, runs=1))
    (row,) = json.loads((tmp_path / "growth.json").read_text())["rows"]
    assert row["step"] == "mme" and [cost["items"] for cost in row["costs"]] == [10, 40, 160]
    assert {"card", "versions", "date", "commit", "rows", "above"} <= record.keys()
    assert all(cost["cpu"] > 0 and cost["mib"] > 10 and cost["calls"] > 1000 for cost in row["costs"])
    assert row["exponents"]["calls"] <= 1.15


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(DataError, match="no step captoin; known: caption"):
        bench(GrowthArguments(steps="captoin"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STEPS))
def test_every_step_reads_what_is_made_for_it(name: str, tmp_path: Path) -> None:
    flags = STEPS[name].write(tmp_path, max(4, STEPS[name].size // 50))
    done = run(
        ["-m", STEPS[name].module, *(word for flag, value in flags.items() for word in (f"--{flag}", str(value)))]
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_record_holds_the_limit() -> None:
    """Of one whole run; what grew too little to tell is cheap at any size."""
    record = json.loads((ROOT / "tests" / "bench" / "records" / "growth.json").read_text())
    grown = [Growth(row["step"], tuple(Cost(**cost) for cost in row["costs"])) for row in record["rows"]]
    assert {growth.step for growth in grown} == set(STEPS)
    assert {growth.step: growth.above() for growth in grown if growth.above()} == {}
    assert all(growth.tells("cpu") or growth.costs[-1].cpu < 6 for growth in grown)
    assert record["crowd"]["items"] == CROWD and record["crowd"]["cpu"] < 20


def test_what_is_too_small_to_tell_is_not_judged() -> None:
    small, large = (Growth("x", tuple(Cost(n, f * n**2, 0, 100) for n in FACTORS)) for f in (0.01, 0.1))
    assert small.above() == {} and large.above() == {"cpu": 2.0}
