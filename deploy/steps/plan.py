"""From the pipeline's file to the list of scripts that are run, each with the values that it gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.arguments.blocks import STEPS, flags_of
from common.errors import ArgumentError
from deploy.steps.config import PIPELINE, PipelineConfig, Values
from deploy.steps.files import BASE, BENCHMARKS, BOTH, COMPARISON, FILES, HEART, MAKERS, OF_THE_WORLD, PLACES, UNLEARNED

ORDER = ("prepare", "draw", "caption", "objects", "score", "browse", "answers", "format")
CHECKPOINT = "ckpt_load_path"
OF_THE_PIPELINE = ("restart", "dry_run", "work_dir")  # which decides for every step whether it begins anew


@dataclass(frozen=True)
class Run:
    """One script with its values.

    Args:
        name: as printed, and in the pipeline's notes.
        step: whose block it reads.
        values: everything that it gets, paths included.
        own: of these, what is not in the resolved file, because the step is run twice or against another result.
        makes: what tells whether it is done: files, or folders.
    """

    name: str
    step: str
    values: Values
    own: Values
    makes: tuple[Path, ...]

    @property
    def module(self) -> str:
        """Of the script."""
        return STEPS[self.step]

    @property
    def restarts(self) -> bool:
        """Whether the script has --restart."""
        return FILES[self.step].restarts


@dataclass(frozen=True)
class Planner:
    """Decides flags and files of all runs.

    Args:
        config: the file.
        folder: of everything that is made.
    """

    config: PipelineConfig
    folder: Path

    def runs(self) -> list[Run]:
        """All runs, in the order of the work. Raises ArgumentError, with all of it, for what is missing."""
        steps = [step for step in self.config.blocks if step != PIPELINE]
        found = [self._run(step, None) for step in ORDER if step in steps]
        found += [self._run(step, BASE) for step in BOTH if step in steps]
        found += [self._run("train", None)] if "train" in steps else []
        found += [self._run(step, UNLEARNED) for step in BOTH if step in steps and self._is_twice(step)]
        found += list(self._comparisons(steps))
        found += [self._report(steps)] if "report" in steps else []
        found += [self._card(steps)] if "card" in steps else []
        found += [self._run("export", None)] if "export" in steps else []
        self._refuse_missing(found)
        return found

    def place(self, key: str, which: str | None = None) -> Path:
        """Where a file of the pipeline lies: as its maker's block says, else in the folder."""
        if key in OF_THE_WORLD:
            return self.place("world") / Path(PLACES[key]).relative_to(PLACES["world"])
        maker, flag = MAKERS[key]
        given = given_value(flag, self.config.of(maker)) if maker in self.config.blocks and which is None else None
        return Path(given) if given else self.folder / PLACES[key].format(which=which)

    def written(self) -> dict[str, Values]:
        """Further values of each block of the resolved file: those that every run of the step has in common."""
        more: dict[str, Values] = {}
        for run in self.runs():
            more[run.step] = {name: value for name, value in run.values.items() if name not in run.own}
        return more

    def _run(self, step: str, which: str | None) -> Run:
        files = FILES[step]
        given = {name: value for name, value in self.config.of(step).items() if name not in OF_THE_PIPELINE}
        own: Values = {}
        defaults: Values = {}
        for flag, key in {**files.takes, **files.makes}.items():
            if flag in files.wanted_by and not float(given.get(files.wanted_by[flag]) or 0):
                continue
            twice = which is not None and "{which}" in PLACES[key]
            if (flag in files.makes or self._is_made(key)) and (twice or not given_value(flag, given)):
                (own if twice else defaults)[flag] = str(self.place(key, which))
        if which and CHECKPOINT in flags_of(step):
            if "train" not in self.config.blocks:
                given = {name: value for name, value in given.items() if not name.endswith(CHECKPOINT)}
            if which == UNLEARNED:
                own[self._checkpoint_flag()] = self._checkpoint()
        if step == "caption_eval" and "pos_neg_data_path" not in given:
            defaults |= self._left_out()
        if step in ("card", "export"):
            defaults |= self._results()
        values = {**defaults, **given, **own}
        label = FILES[step].label or step
        return Run(f"{label} {which}" if which else label, step, values, own, self._makes(step, values))

    def _is_twice(self, step: str) -> bool:
        """Whether the step is also run for the model after training: there is one, and the step can tell them apart."""
        apart = CHECKPOINT in flags_of(step) or self._is_made("eval_captions")
        return apart and self._checkpoint() is not None

    def _makes(self, step: str, values: Mapping[str, Any]) -> tuple[Path, ...]:
        named = [(key, given_value(flag, values)) for flag, key in FILES[step].makes.items()]
        return tuple(Path(value) / HEART[key] if key in HEART else Path(value) for key, value in named if value)

    def _is_made(self, key: str) -> bool:
        """Whether a step of this file makes it."""
        return MAKERS["world" if key in OF_THE_WORLD else key][0] in self.config.blocks

    def _checkpoint(self) -> str | None:
        """What is judged as unlearned: the training's result, or the checkpoint that the file gives on top."""
        if "train" in self.config.blocks:
            return given_value("ckpt_save_path", self._run("train", None).values)
        return given_value(CHECKPOINT, self.config.shared)

    def _checkpoint_flag(self) -> str:
        """The name under which the file gives a checkpoint, which the one to be judged must override."""
        return next((name for name in self.config.shared if name.endswith(CHECKPOINT)), CHECKPOINT)

    def _left_out(self) -> Values:
        """Spans and sentences of the training, for both models alike: after it, its own split is left out as well."""
        if "train" not in self.config.blocks:
            return {}
        train = self._run("train", None).values
        return {name: train[name] for name in ("pos_neg_data_path", "sentence_data_path") if name in train}

    def _results(self) -> Values:
        """What a card shows: the results of the unlearned model and of the base; nothing where none was judged."""
        judged = [step for step in ("judge", *BENCHMARKS) if step in self.config.blocks and self._is_twice(step)]
        keys = ["result" if step == "judge" else f"{step}_result" for step in judged]
        paths = [str(self.place(key, which)) for which in (UNLEARNED, BASE) for key in keys]
        return {"result_paths": paths} if paths else {}

    def _card(self, steps: list[str]) -> Run:
        """The card of the training, written again when its results are there."""
        if "train" not in steps:
            raise ArgumentError(f"{self.config.where}: card needs the step train, whose result it describes")
        run = self._run("card", None)
        return replace(run, makes=(Path(str(run.values[CHECKPOINT])) / "README.md",))

    def _comparisons(self, steps: list[str]) -> Iterator[Run]:
        for step in ("judge", *BENCHMARKS):
            if "compare" in steps and step in steps and self._is_twice(step):
                key = "result" if step == "judge" else f"{step}_result"
                made = PLACES["comparison"] if step == "judge" else COMPARISON.format(step=step)
                pair = {flag: str(self.place(key, which)) for flag, which in (("first", BASE), ("second", UNLEARNED))}
                own = {**pair, "result_path": str(self.folder / made)}
                values = {**self.config.of("compare"), **own}
                name = "compare" if step == "judge" else f"compare {step}"
                yield Run(name, "compare", values, own, (Path(own["result_path"]),))

    def _report(self, steps: list[str]) -> Run:
        """The page of what was judged: the base alone, or both."""
        both = (BASE, UNLEARNED) if self._is_twice("judge") else (BASE,)
        judged = {"results": [str(self.place("result", which)) for which in both]} if "judge" in steps else {}
        values = {**judged, "report_path": str(self.place("report")), **self.config.of("report")}
        return Run("report", "report", values, {}, (Path(str(values["report_path"])),))

    def _refuse_missing(self, runs: list[Run]) -> None:
        lacking = [
            f"{run.step} needs {flag} (from the step {self._maker(key)})"
            for run in runs
            for flag, key in FILES[run.step].takes.items()
            if not given_value(flag, run.values) and flag not in FILES[run.step].optional
        ]
        if lacking:
            raise ArgumentError(f"{self.config.where}: {'; '.join(dict.fromkeys(lacking))}; give it, or add the block")

    @staticmethod
    def _maker(key: str) -> str:
        return MAKERS["world" if key in OF_THE_WORLD else key][0]


def given_value(flag: str, values: Mapping[str, Any]) -> str | None:
    """The value of a flag, or of its long form with the model's name."""
    long = (name for name in values if flag.startswith("ckpt_") and name.endswith(f"_{flag}"))
    return next((str(values[name]) for name in (flag, *long) if values.get(name)), None)
