"""Attempts at a step: run in a fork, killed before a chosen write, and what the next command makes of it."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.crash.steps import Step

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
        heard, report, loaded = self.root / "heard", self.root / "report", self.root / "loaded"
        report.write_text("-1")
        child = os.fork()
        if child == 0:
            _run(self.step, self.step.words(self.inputs, self.out, *more), self.out, kill, heard, report, loaded)
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

    def load(self) -> None:
        """Load what the last attempt had to, once for all that follow."""
        for name in (self.root / "loaded").read_text().split():
            with suppress(Exception):  # some can only be loaded by others
                importlib.import_module(name)

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


def _run(step: Step, words: Sequence[str], out: Path, kill: int, heard: Path, report: Path, loaded: Path) -> None:
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
        code = exit_code(module)
        sys.stdout.flush()
        sys.stderr.flush()
        shim.crash_seen.restype = ctypes.c_long
        seen = shim.crash_seen()
        shim.crash_arm(b"/nowhere", ctypes.c_long(0))
        report.write_text(str(seen))
        loaded.write_text("\n".join(sys.modules))
    finally:
        os._exit(code)


def exit_code(script: ModuleType) -> int:
    """What a script that is run in this process would end with; a fault of its own is printed."""
    try:
        script.run(script.main)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


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
