"""How time and memory of every step that reads files grow with its input.

    python -m tests.bench.bench_growth                          # 1x, 4x and 16x; forty minutes of a core
    python -m tests.bench.bench_growth --steps format,train --record growth.json --jobs 4

Each size runs in a process of its own, held to one core: else a larger input would be given to more processes, each
with a start of its own, and the three sizes would not be of one regime. Measured are processor seconds of the step's
`main` (imports aside), seconds on the clock, and the largest memory that it held. The sizes take turns, so that a
machine that becomes slower does not make one of them look large; the least of several runs counts. For a cost of
a + b n^k the two differences between three sizes are as 4^k, whatever the fixed cost a is (a model to load); so the
exponent is log4 of their ratio. Once more each size is run with its function calls counted, which no other process
disturbs: where their exponent and that of the seconds differ, the machine made the difference.
Also: 10,000 captions of one image, prepared for training.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.manifest import git_commit, versions
from common.progress import announce
from tests.bench.growth.costs import FACTORS, LIMIT, Growth, least
from tests.bench.growth.runs import calls, cost
from tests.bench.growth.steps import STEPS
from tests.scratch import scratch

CROWD = 10_000  # captions of one image


@dataclass
class GrowthArguments:
    """What to measure."""

    steps: str | None = flag(None, "names of steps, with commas; default all")
    record: str | None = flag("tests/bench/records/growth.json", "where the record goes")
    scale: float = flag(1.0, "factor on all sizes, for a quick look")
    runs: int = flag(3, "runs of each size, of which the least counts: others are disturbed")
    calls: bool = flag(True, "count function calls too, in a run of their own")
    jobs: int = flag(1, "steps that are measured at once, each on a core of its own")


def measure(name: str, args: GrowthArguments, core: int) -> Growth:
    """All sizes of a step in turn, on a core."""
    step = STEPS[name]
    size = max(4, round(step.size * args.scale))
    sizes = [size * factor for factor in FACTORS]
    rounds = [[cost(step, items, core) for items in sizes] for _ in range(max(1, args.runs))]
    counts = [calls(step, items, core) if args.calls else 0 for items in sizes]
    growth = Growth(name, tuple(map(least, zip(*rounds, strict=True), counts)))
    costs = ", ".join(f"{c.items}: {c.cpu:.2f} s {c.mib:.0f} MiB" for c in growth.costs)
    found = growth.exponents()
    announce(
        f"{name}: {costs}; exponents {found['cpu']:.2f} of seconds, {found['mib']:.2f} of memory, {found['calls']:.2f} "
        "of calls"
    )
    return growth


def measured(names: Sequence[str], args: GrowthArguments) -> list[Growth]:
    """Several steps side by side, each on a core that no other takes meanwhile."""
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0))[: args.jobs]:
        cores.put(core)

    def on_a_core(name: str) -> Growth:
        core = cores.get()
        try:
            return measure(name, args, core)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(args.jobs) as pool:
        return list(pool.map(on_a_core, names))


def bench(args: GrowthArguments) -> dict[str, Any]:
    """Measure, write the record, say what is above the limit. Raises DataError for a step that fails."""
    names = args.steps.split(",") if args.steps else list(STEPS)
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        raise DataError(f"no step {unknown[0]}; known: {', '.join(STEPS)}")
    grown = measured(names, args)
    core = min(os.sched_getaffinity(0))
    crowd = cost(STEPS["train"], round(CROWD * args.scale), core) if "train" in names else None
    record = {
        "card": _processor(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "jobs": args.jobs,
        "rows": [growth.row() for growth in grown],
        "crowd": None if crowd is None else vars(crowd),
        "above": [g.step for g in grown if g.above()],
    }
    if args.record:
        Path(args.record).write_text(json.dumps(record, indent=1) + "\n")
    if crowd is not None:
        announce(
            f"{crowd.items} captions of one image prepared for training in {crowd.cpu:.1f} s ({crowd.clock:.1f} s on "
            f"the clock), {crowd.mib:.0f} MiB"
        )
    return record


def _processor() -> str:
    """The machine, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def main() -> None:
    """Parse and measure; exit code 1 where something grows faster than it may."""
    (args,) = parse([GrowthArguments], __doc__ or "")
    with scratch("growth"):
        record = bench(args)
    above = record["above"]
    announce(f"exponents above {LIMIT}: {', '.join(above) or 'none'}")
    if above:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
