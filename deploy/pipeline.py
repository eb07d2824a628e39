"""The whole method on your images or captions, from one YAML file: caption -> objects -> score -> ... -> compare.

    python deploy/pipeline.py --config my.yaml [--work_dir runs/my] [--dry_run] [--restart]

The file has shared values on top and a block for each step that is to be run; `deploy/README.md` explains it, and
`deploy/demo.yaml` is one. Files between two steps lie in the working folder and need not be named. A step is done again
only if its values or what it reads have changed, and a killed one is continued; `--dry_run` says what would be done.
Every step is the script of its name: `python -m insight.caption --config runs/my/pipeline.yaml` does one alone.

Raises ArgumentError for unknown steps and values, and for a step whose input nobody makes; DataError if a step fails.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

import argparse
import importlib
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.args import flag, parse
from common.cli import run as run_script
from common.errors import ArgumentError, DataError
from common.files.storage import home, naming, read_text, write_text
from common.outputs.locks import exclusive
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget
from common.paths import ROOT, display
from common.progress import announce, say
from deploy.steps.config import PipelineConfig, read_config
from deploy.steps.foreign import refuse_foreign_files
from deploy.steps.notes import Notes, Verdict
from deploy.steps.plan import OF_THE_PIPELINE, Planner, Run
from deploy.steps.scripts import Scripts


@dataclass
class PipelineArguments:
    """Where everything goes, and what becomes of what is there."""

    work_dir: str | None = flag(None, "folder of everything that is made; default runs/NAME, as --config is named")
    restart: bool = flag(False, "do every step again")
    dry_run: bool = flag(False, "say which steps would be done, and stop")


ARGUMENTS = (PipelineArguments,)
NOTES, RESOLVED = "pipeline.json", "pipeline.yaml"
MARK = "# Made of "  # at the head of the resolved file


@dataclass(frozen=True)
class Pipeline:
    """One file's steps in one folder."""

    config: PipelineConfig
    folder: Path

    @property
    def resolved(self) -> Path:
        """The file with every value that was left out, which the scripts read."""
        return self.folder / RESOLVED

    def runs(self) -> list[Run]:
        """All runs, checked: every flag is known to its script and has a value that it takes. Raises ArgumentError."""
        runs = Planner(self.config, self.folder).runs()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(self.config.where).name
            with naming(path):
                path.write_text(self.text(), encoding="utf-8")
            for run in runs:
                parse(importlib.import_module(run.module).ARGUMENTS, "", arguments(run, path), step=run.step)
        return runs

    def text(self) -> str:
        """The resolved file."""
        shared = {k: v for k, v in self.config.shared.items() if k not in OF_THE_PIPELINE and "ckpt_load_path" not in k}
        values = {**shared, **Planner(self.config, self.folder).written()}
        head = f"{MARK}{self.config.where}; one step alone: python -m MODULE --config {display(self.resolved)}\n"
        return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

    def check(self) -> None:
        """Raise DataError if the folder holds a file of somebody else's under the name of the resolved one."""
        WholeTarget(self.resolved, "work_dir", "deploy.pipeline", _resolved).check()

    def do(self, restart: bool = False) -> dict[str, float]:
        """Do what is out of date; returns each step's seconds. Raises DataError for a step that fails or would."""
        runs = self.runs()
        self.check()
        with exclusive(self.folder / NOTES):
            notes = Notes.read(self.folder / NOTES)
            refuse_foreign_files(runs, notes, restart)
            write_text(self.resolved, self.text())
            with Scripts() as scripts:
                for number, run in enumerate(runs):
                    self._do(run, notes, restart, scripts, [later.step for later in runs[number + 1 :]])
        return notes.seconds(runs)

    def _do(self, run: Run, notes: Notes, restart: bool, scripts: Scripts, later: Sequence[str]) -> None:
        verdict = Verdict.ANEW if restart else notes.verdict(run)
        if verdict is Verdict.CURRENT:
            kept = ", ".join(display(path) for path in notes.changed(run))
            announce(f"\n== {run.name}: up to date" + (f"; changed by hand and kept: {kept}" if kept else ""))
            notes.write()
            return
        command = ["-m", run.module, *arguments(run, self.resolved)]
        command += ["--restart"] if verdict is Verdict.ANEW and run.restarts else []
        announce(f"\n== {run.name} ({verdict.value}): python {shlex.join(command)}")
        start = time.perf_counter()
        if verdict is not Verdict.CONTINUE:
            notes.begin(run)
        if scripts.run(command, run.step, later) != 0:
            raise DataError(f"the step '{run.name}' failed; run it alone to see why: python {shlex.join(command)}")
        notes.end(run, time.perf_counter() - start)

    def lines(self, restart: bool = False) -> list[str]:
        """What would be done: a step behind one that is to be done is done too if its input comes out otherwise.

        Raises DataError as :meth:`do` before the first step.
        """
        notes, uncertain, found = Notes.read(self.folder / NOTES), set[str](), []
        runs = self.runs()
        refuse_foreign_files(runs, notes, restart)
        for run in runs:
            verdict = notes.verdict(run).value
            if verdict == Verdict.CURRENT.value and uncertain & {str(value) for value in run.values.values()}:
                verdict = "if input changes"
            if verdict != Verdict.CURRENT.value:
                uncertain |= {str(place) for path in run.makes for place in (path, path.parent)} - {str(self.folder)}
            found.append(f"{run.name:20} {verdict:16} {run.module}")
        return found


def _resolved(path: Path) -> None:
    if not read_text(path).startswith(MARK):
        raise DataError("not made by the pipeline")


def arguments(run: Run, config: Path) -> list[str]:
    """The command line of a run."""
    own = [word for name, value in run.own.items() for word in (f"--{name}", str(value))]
    return ["--config", str(config), *own]


def config_path(argv: Sequence[str]) -> str | None:
    """The value of --config."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    found: str | None = finder.parse_known_args(list(argv))[0].config
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Plan, check, and do what is out of date. Raises UserErrors for what the user can mend."""
    argv = sys.argv[1:] if argv is None else argv
    path = config_path(argv)
    config = read_config(path) if path else None  # what is wrong with the whole of it, before its own block is read
    (args,) = parse(ARGUMENTS, __doc__ or "", argv, step="pipeline")
    if path is None or config is None:
        raise ArgumentError("--config is needed: the pipeline's YAML file (deploy/README.md shows one)")
    folder = home(args.work_dir, "--work_dir") if args.work_dir else ROOT / "runs" / Path(path).stem
    pipeline = Pipeline(config, folder)
    check_targets({"work_dir": pipeline.resolved}, config=home(path, "--config"))
    if args.dry_run:
        say("\n".join(pipeline.lines(args.restart)))
        return
    seconds = pipeline.do(args.restart)
    say("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))
    say(f"total {sum(seconds.values()):.0f} s; {display(folder)}")


if __name__ == "__main__":
    run_script(main)
