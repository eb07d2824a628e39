"""Kills a step before every event by which it changes a file, and looks at what the next command makes of it.

    python -m tests.crash.harness [--steps caption train] [--sample 4] [--seed 0]

Exit code 1 if anything was lost. The libraries are loaded once; every attempt is a fork.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.paths import ROOT
from tests.crash.steps import STEPS, Step, make_inputs

SHIM = "EFUF_CRASH_SHIM"
SECONDS = 120  # that an attempt may take


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: exit code (negative: killed), what it said, and events counted (only if it ended)."""

    code: int
    said: str
    events: int

    @property
    def line(self) -> str:
        """Its last line."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""


@dataclass
class Bench:
    """Where the attempts at one step take place."""

    step: Step
    root: Path

    @property
    def inputs(self) -> Path:
        """Shared by all attempts."""
        return self.root / "in"

    @property
    def out(self) -> Path:
        """Of the attempt that is going on."""
        return self.root / "out"

    def clear(self, earlier: Path | None = None) -> None:
        """An empty place, or one with an earlier result."""
        shutil.rmtree(self.out, ignore_errors=True)
        if earlier is None:
            self.out.mkdir()
        else:
            shutil.copytree(earlier, self.out)

    def attempt(self, *more: str, kill: int = 0) -> Ended:
        """Run the step in a fork; before event number `kill` it is killed."""
        heard, report = self.root / "heard", self.root / "report"
        report.write_text("-1")
        child = os.fork()
        if child == 0:
            _run(self.step, self.step.words(self.inputs, self.out, *more), self.out, kill, heard, report)
        end = time.monotonic() + SECONDS
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > end:
                os.kill(child, 9)
                os.waitpid(child, 0)
                return Ended(124, f"no end after {SECONDS} s", -1)
            time.sleep(0.002)
        said = heard.read_text(encoding="utf-8", errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), said, int(report.read_text()))

    def results(self) -> dict[str, bytes | None]:
        """The bytes that count."""
        return {name: _comparable(self.out / name) for name in self.step.results}

    def files(self) -> set[str]:
        """Everything that is there, without what is numbered by process."""
        return {str(p.relative_to(self.out)) for p in self.out.rglob("*")}


def _comparable(path: Path) -> bytes | None:
    """A result without the date and command in its manifest."""
    if not path.is_file():
        return None
    return re.sub(rb'"manifest": \{.*?\n  \}', b"", path.read_bytes(), flags=re.DOTALL)


def _run(step: Step, words: Sequence[str], out: Path, kill: int, heard: Path, report: Path) -> None:
    """The forked child: never returns."""
    code = 1
    try:
        said = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = [step.module, *words]
        shim = ctypes.CDLL(None)
        module = importlib.import_module(step.module)
        shim.crash_arm(str(out).encode(), ctypes.c_long(kill))
        try:
            module.run(module.main)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        shim.crash_seen.restype = ctypes.c_long
        seen = shim.crash_seen()
        shim.crash_arm(b"/nowhere", ctypes.c_long(0))
        report.write_text(str(seen))
    finally:
        os._exit(code)


class LostError(Exception):
    """What the harness looks for."""


def check(
    bench: Bench, number: int, wanted: dict[str, bytes | None], files: set[str], earlier: dict[str, bytes | None] | None
) -> str:
    """One kill, and what comes after it. Returns how it was mended: `again`, or `restart` after a clear line.

    Args:
        earlier: the result that --restart is to replace; None: without --restart.

    Raises LostError with what went wrong.
    """
    killed = bench.attempt(*(["--restart"] if earlier else []), kill=number)
    if killed.code != -9:
        raise LostError(f"was to be killed before event {number}, ended with {killed.code}: {killed.line}")
    _half_done(bench, [wanted, *([earlier] if earlier else [])])
    ended, how = bench.attempt(), "again"
    if ended.code == 2 and "--restart" in ended.line and "Traceback" not in ended.said:
        ended, how = bench.attempt("--restart"), "restart"
    if ended.code != 0:
        raise LostError(f"killed before event {number}, then code {ended.code}: {ended.line}")
    for name, value in bench.results().items():
        if value != wanted[name]:
            raise LostError(f"killed before event {number}: {name} has other bytes at the end")
    left = bench.files() ^ files
    if left:
        raise LostError(f"killed before event {number}: {', '.join(sorted(left))} differ from an undisturbed run")
    return how


def _half_done(bench: Bench, whole: Sequence[dict[str, bytes | None]]) -> None:
    """Raise LostError if the kill left a result that says it is complete and is none of the whole ones."""
    record = bench.step.record
    if record is None or not (bench.out / f"{record}.manifest.json").exists():
        return
    if bench.results()[record] not in [results[record] for results in whole]:
        raise LostError(f"{record} is half done and has its manifest")


def kills(events: int, sample: int, chance: random.Random) -> Iterator[int]:
    """All events, or so many of them."""
    every = range(1, events + 1)
    yield from every if not sample or sample >= events else sorted(chance.sample(every, sample))


def examine(name: str, step: Step, root: Path, sample: int, chance: random.Random) -> tuple[int, list[str]]:
    """Kill one step in all ways; returns the number of kills and what was lost."""
    bench, start, lost, number = Bench(step, root), time.monotonic(), [], 0
    for module in (step.module, *step.loads):
        importlib.import_module(module)
    bench.clear()
    undisturbed = bench.attempt()
    if undisturbed.code != 0:
        return 0, [f"{name}: the undisturbed run fails: {undisturbed.said[-2000:]}"]
    wanted, files = bench.results(), bench.files()
    ways = {"again": 0, "restart": 0}
    for restart in (False, True) if step.others else (False,):
        earlier, replaced = None, None
        events = undisturbed.events
        if restart:
            bench.clear()
            bench.attempt(*step.others)
            earlier, replaced = root / "earlier", bench.results()
            shutil.rmtree(earlier, ignore_errors=True)
            shutil.copytree(bench.out, earlier)
            events = bench.attempt("--restart").events
        for event in kills(events, sample, chance):
            bench.clear(earlier)
            number += 1
            try:
                ways[check(bench, event, wanted, files, replaced)] += 1
            except LostError as error:
                lost.append(f"{name}{' --restart' if restart else ''}: {error}")
    seconds = time.monotonic() - start
    print(
        f"{name:14}{undisturbed.events:5} events {number:5} kills {ways['again']:5} went on {ways['restart']:5} "
        f"began anew {len(lost):3} lost {seconds:7.0f} s",
        flush=True,
    )
    return number, lost


def make_shim(folder: Path) -> Path | None:
    """Compile the counter; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    target = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def main() -> None:
    """Compile, start again with the counter preloaded, examine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--sample", type=int, default=0, help="kills of each step and way; 0: before every event")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if SHIM not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            shim = make_shim(Path(folder))
            if shim is None:
                sys.exit("no C compiler (cc or gcc) to build the counter with")
            again = {**os.environ, SHIM: "1", "LD_PRELOAD": str(shim), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            sys.exit(subprocess.run([sys.executable, "-m", "tests.crash.harness", *sys.argv[1:]], env=again).returncode)
    chance, total, lost = random.Random(args.seed), 0, []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        make_inputs(root / "in")
        for name in args.steps:
            if name == "compare":
                _make_results(root)
            number, found = examine(name, STEPS[name], root, args.sample, chance)
            total += number
            lost += found
    print(f"{total} kills, {len(lost)} lost")
    sys.exit("\n".join(lost) if lost else 0)


def _make_results(root: Path) -> None:
    """Two results to compare."""
    bench = Bench(STEPS["judge"], root)
    bench.clear()
    bench.attempt()
    for name in ("one", "two"):
        shutil.copy(root / "out" / "result.json", root / "in" / f"{name}.json")


if __name__ == "__main__":
    main()
