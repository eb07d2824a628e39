"""Result files as a card shows them: a table with intervals, and entries of the Hub's model-index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from common.errors import DataError
from common.files.json_text import as_record
from common.files.storage import read_record
from common.paths import display
from common.progress import announce

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# What stands in the table, by task; the header has every score.
HEADLINES = {
    "chair": ("chair_s", "chair_i", "recall", "words", "repetition"),
    "pope": ("accuracy", "f1", "yes_rate"),
    "mme": ("perception", "cognition"),
    "gqa": ("accuracy",),
    "scienceqa": ("accuracy", "accuracy_image"),
    "qbench": ("accuracy",),
}
AS_THEY_ARE = ("words", "perception", "cognition", "perplexity")  # no rates
TASK = "image-text-to-text"


class ResultFile(msgspec.Struct, frozen=True):
    """What of a `--result_path` file a card shows.

    Attributes:
        task, definition, version: what was measured, by whose rules.
        n: number of items.
        scores, intervals: name -> number, and its 95 % bootstrap interval.
    """

    task: str
    definition: str
    version: str
    n: int
    scores: dict[str, float | None]
    manifest: dict[str, Any]
    intervals: dict[str, tuple[float, float]] = {}

    @property
    def rules(self) -> tuple[str, str, str, Any]:
        """Results with other rules are not to be shown side by side."""
        return self.task, self.definition, self.version, self.manifest.get("captioning")

    def data(self) -> str:
        """What it was judged on, without paths."""
        arguments = self.manifest.get("arguments")
        given = arguments if isinstance(arguments, dict) else {}
        names = (given.get(name) for name in ("gold_objects_path", "annotation_path"))
        found = next((Path(str(name)).name for name in names if name), self.task)
        return f"{found}, {self.n} {'captions' if self.task == 'chair' else 'items'}"


@dataclass(frozen=True)
class Comparison:
    """A result of the checkpoint, and one of its base by the same rules if there is one."""

    now: ResultFile
    base: ResultFile | None = None


@dataclass(frozen=True)
class Hashes:
    """Of the files that a result must come from: the base, and what was laid over it (None: nothing)."""

    model: str | None
    checkpoint: str | None


@dataclass(frozen=True)
class Sorted:
    """Results by whose they are."""

    now: list[ResultFile] = field(default_factory=list)
    base: list[ResultFile] = field(default_factory=list)


def comparisons(paths: Sequence[Path | str], hashes: Hashes) -> tuple[Comparison, ...]:
    """The results of a checkpoint, each beside its base's, in the order of the files.

    Raises DataError for a file that is no result, one of another checkpoint, and results of the base alone.
    """
    found = Sorted()
    for path in paths:
        result = as_record(read_record(path, dict[str, Any]), ResultFile, display(path))
        (found.base if _is_of_base(result, hashes, path) else found.now).append(result)
    if found.base and not found.now:
        raise DataError(f"all results are of the base model ({display(paths[0])}); give those of the checkpoint too")
    return tuple(Comparison(now, next((b for b in found.base if b.rules == now.rules), None)) for now in found.now)


def _is_of_base(result: ResultFile, hashes: Hashes, path: Path | str) -> bool:
    model, checkpoint = (result.manifest.get(name) for name in ("model_hash", "checkpoint_hash"))
    if model is None:
        announce(f"{display(path)} does not say which model it is of; taken as this checkpoint's, as it was given")
        return False
    if checkpoint == hashes.checkpoint:
        return False
    if checkpoint is None and hashes.model in (None, model):
        return True
    raise DataError(f"{display(path)} is a result of another checkpoint; leave it out")


def rows(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    """(score, base, now) as text, with intervals."""
    names = HEADLINES.get(comparison.now.task, tuple(comparison.now.scores))
    for name in names:
        if comparison.now.scores.get(name) is not None:
            yield name, _cell(comparison.base, name), _cell(comparison.now, name)


def _cell(result: ResultFile | None, name: str) -> str:
    value = None if result is None else result.scores.get(name)
    if result is None or value is None:
        return "-"
    text = number(name, value)
    if name in result.intervals:
        text += " [{}, {}]".format(*(number(name, bound) for bound in result.intervals[name]))
    return text


def number(name: str, value: float) -> str:
    """Rates in percent, lengths and MME's points as they are."""
    plain = name in AS_THEY_ARE or "per_" in name
    return f"{value:.2f}" if plain else f"{100 * value:.1f} %"


def entries(found: Sequence[Comparison]) -> list[EvalResult]:
    """Of the Hub's model-index: every score of the checkpoint, with definition and interval as arguments."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=TASK,
            dataset_type=c.now.task,
            dataset_name=c.now.data(),
            metric_type=name,
            metric_name=name,
            metric_value=value,
            metric_args={
                "definition": c.now.definition,
                "version": c.now.version,
                **({"interval_95": list(c.now.intervals[name])} if name in c.now.intervals else {}),
            },
        )
        for c in found
        for name, value in c.now.scores.items()
        if value is not None
    ]
