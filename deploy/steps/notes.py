"""What the pipeline notes of its runs, and what follows: up to date, to be continued, or to be done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, write_json
from common.paths import display
from deploy.steps.contents import Contents
from deploy.steps.plan import Run

# Flags that change how a step is computed or shown, but nothing of what it leaves.
NEUTRAL = frozenset(
    {"device", "num_workers", "image_cache_mb", "report_to", "wandb_user", "run_name", "logging_steps", "figure_path"}
)


class Verdict(Enum):
    """What is to be done about a run."""

    CURRENT = "up to date"
    CONTINUE = "to be continued"
    ANEW = "out of date"
    FIRST = "to be done"


@dataclass
class Note:
    """Of one run: what it was made from, whether it ended, what it left, how long it took."""

    made_from: str
    finished: bool = False
    outputs: dict[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Notes:
    """All notes, in one file of the pipeline's folder."""

    path: Path
    contents: Contents
    runs: dict[str, Note]

    @classmethod
    def read(cls, path: Path) -> Notes:
        """The notes; empty ones if there is no file. Raises DataError for a file that is something else."""
        if not path.exists():
            return cls(path, Contents(), {})
        try:
            value = read_json(path)
            return cls(path, Contents(dict(value["contents"])), {name: Note(**v) for name, v in value["runs"].items()})
        except (KeyError, TypeError, AttributeError, ValueError):
            raise DataError(f"{display(path)} is not the pipeline's; choose another --work_dir") from None

    def write(self) -> None:
        """At once."""
        write_json(
            self.path,
            {"runs": {name: asdict(note) for name, note in self.runs.items()}, "contents": self.contents.known},
        )

    def made_from(self, run: Run) -> str:
        """A hash of a run's values, with what lies at those that are paths, and not how they are spelt."""
        made = {str(path) for path in run.makes}
        values = {
            name: self._value(value, made)
            for name, value in sorted(run.values.items())
            if name not in NEUTRAL and value is not None
        }
        return hashlib.sha256(json.dumps([run.step, values]).encode()).hexdigest()

    def _value(self, value: Any, made: set[str]) -> Any:
        if isinstance(value, list):
            return [self._value(one, made) for one in value]
        path = Path(os.path.expanduser(str(value)))  # noqa: PTH111 (any text, so no home is no fault)
        if str(value) in made or any(Path(one).parent == path for one in made if Path(one).suffix == ".safetensors"):
            return "made here"
        return self.contents.of(path) if str(value) and path.exists() else str(value)

    def verdict(self, run: Run) -> Verdict:
        """What is to be done about a run whose inputs are there."""
        note = self.runs.get(run.name)
        if note is None:
            return Verdict.FIRST
        if note.made_from != self.made_from(run):
            return Verdict.ANEW
        if not note.finished:
            return Verdict.CONTINUE
        return Verdict.CURRENT if run.makes and all(path.exists() for path in run.makes) else Verdict.FIRST

    def changed(self, run: Run) -> list[Path]:
        """What a finished run left and somebody has changed since; it is kept, and what follows is made from it."""
        noted: Mapping[str, str | None] = self.runs[run.name].outputs
        return [path for path in run.makes if noted.get(str(path)) not in (None, self.contents.of(path))]

    def begin(self, run: Run) -> None:
        """Note that a run has begun; killed from here on, it is continued."""
        self.runs[run.name] = Note(self.made_from(run))
        self.write()

    def end(self, run: Run, seconds: float) -> None:
        """Note that it has ended, and what it left. Raises DataError if that is not all."""
        lacking = [path for path in run.makes if not path.exists()]
        if lacking:
            raise DataError(f"the step '{run.name}' ended without {display(lacking[0])}")
        note = self.runs[run.name]
        note.finished, note.seconds = True, round(seconds, 1)
        note.outputs = {str(path): self.contents.of(path) for path in run.makes}
        self.write()

    def seconds(self, runs: Sequence[Run]) -> dict[str, float]:
        """Of each run, as it was last done."""
        return {run.name: self.runs[run.name].seconds for run in runs if run.name in self.runs}
