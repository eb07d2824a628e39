"""Kills a step before every event by which it changes a file, and looks at what the next command makes of it.

    python -m tests.crash.harness [--steps caption train] [--jobs 2] [--sample 4] [--seed 0] [--record kills.jsonl]

Exit code 1 if anything was lost. What a step's first attempt loads is loaded once for all others, which are forks. With
--record a run that was stopped goes on, on this machine or another.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from common.paths import ROOT
from tests.crash.shares import AGAIN, ANEW, LOST, Kill, Plan, do_share
from tests.crash.steps import STEPS
from tests.scratch import scratch

SHIM = "EFUF_CRASH_SHIM"


def make_shim(folder: Path) -> Path | None:
    """Compile the counter; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    target = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def row(name: str, kills: Sequence[Kill]) -> str:
    """A step's line in the table of README.md."""
    events = {kill.restart: kill.events for kill in kills}
    ends = [kill.ended for kill in kills]
    whole = not STEPS[name].others or len(events) == 2
    count = f"{len(kills)} ({'all' if whole and len(kills) == sum(events.values()) else 'sampled'})"
    numbers = (events.get(False, 0), count, ends.count(AGAIN), ends.count(ANEW), ends.count(LOST))
    return f"| {name} | {' | '.join(map(str, numbers))} |"


def examine(names: Sequence[str], jobs: int, plan: Plan) -> list[Kill]:
    """Kill the steps in all ways; prints the row of each as it is through, and returns all kills."""
    begun = time.monotonic()
    print("| step | events | kills | went on | began anew | lost |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        shares: dict[str, list[Future[None]]] = {
            name: [pool.submit(do_share, name, number, jobs, plan) for number in range(jobs)] for name in names
        }
        for name, futures in shares.items():
            for future in futures:
                future.result()
            print(row(name, [kill for kill in plan.done() if kill.step == name]), flush=True)
    kills = [kill for kill in plan.done() if kill.step in names]
    lost = sum(kill.ended == LOST for kill in kills)
    print(f"{len(kills)} kills, {lost} lost; {time.monotonic() - begun:.0f} s in {jobs} processes")
    return kills


def main() -> None:
    """Compile, start again with the counter preloaded, examine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--jobs", type=int, default=1, help="processes that do a share of the kills each")
    parser.add_argument("--sample", type=int, default=0, help="kills of each step and way; 0: before every event")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="where every kill is noted, and those in it are not done again")
    args = parser.parse_args()
    with scratch("crash") as folder:
        if SHIM not in os.environ:
            sys.exit(_again(folder))
        record = args.record.resolve() if args.record else folder / "kills.jsonl"
        kills = examine(args.steps, args.jobs, Plan(args.sample, args.seed, record))
    lost = [
        f"{kill.step}{' --restart' if kill.restart else ''}, killed before event {kill.event}: {kill.said}"
        for kill in kills
        if kill.ended == LOST
    ]
    sys.exit("\n".join(lost) if lost else 0)


def _again(folder: Path) -> int | str:
    """This command with the counter preloaded; returns its exit code."""
    shim = make_shim(folder)
    if shim is None:
        return "no C compiler (cc or gcc) to build the counter with"
    again = {**os.environ, SHIM: "1", "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
    again["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run([sys.executable, "-m", "tests.crash.harness", *sys.argv[1:]], env=again).returncode


if __name__ == "__main__":
    main()
