"""Reading results back, with the counts of each item and the formulas that belong to their task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from common.errors import DataError
from common.files.json_text import as_record
from common.files.storage import read_record
from common.paths import display
from evaluate.chair import counting as chair
from evaluate.metrics import amber, choice, mme, pope, text
from evaluate.metrics.stats import Formula, Units

EVENT_COLUMNS = {"chair": "captions_with_hallucination", "gqa": "right", "scienceqa": "right", "qbench": "right"}


@dataclass(frozen=True)
class StoredResult:
    """A result as compared with another one.

    Attributes:
        path: where it was read from.
        task, definition, version: what was measured, by whose rules.
        protocol: prompt, parser and decoding, as far as the manifest knows them.
        units: counts of each item.
    """

    path: str
    task: str
    definition: str
    version: str
    protocol: Mapping[str, Any]
    units: Units


Count = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]


class _Items(msgspec.Struct, frozen=True):
    ids: list[str]
    columns: list[str]
    counts: list[list[Count]]
    clusters: list[str] = []


class _ResultFile(msgspec.Struct, frozen=True):
    task: str
    definition: str
    version: str
    manifest: dict[str, Any]
    units: _Items


def read_result(path: Path | str) -> StoredResult:
    """Read a `--result_path` file. Raises DataError if it is none, or was written without its items."""
    value = as_record(_with_items(path), _ResultFile, display(path))
    stored = value.units
    sizes = {len(row) for row in stored.counts} - {len(stored.columns)}
    repeated = len(set(stored.ids)) < len(stored.ids) or len(set(stored.columns)) < len(stored.columns)
    if sizes or repeated or len(stored.counts) != len(stored.ids) or len(stored.clusters) not in (0, len(stored.ids)):
        raise DataError(f"{display(path)}: ids, columns and counts of its items do not fit; write it anew")
    counts = np.array(stored.counts, dtype=np.float64).reshape(len(stored.ids), len(stored.columns))
    units = Units(tuple(stored.ids), tuple(stored.columns), counts, tuple(stored.clusters))
    protocol = {name: value.manifest[name] for name in ("prompt", "parser", "captioning") if value.manifest.get(name)}
    return StoredResult(display(path), value.task, value.definition, value.version, protocol, units)


def _with_items(path: Path | str) -> dict[str, Any]:
    value = read_record(path, dict[str, Any])
    if value.get("units") is None:
        raise DataError(f"{display(path)}: not a result with its items; write it anew with --result_path")
    return value


def formulas_of(result: StoredResult) -> Mapping[str, Formula]:
    """The scores that the stored counts give. Raises DataError for an unknown task."""
    columns = result.units.columns
    groups = [name.removesuffix(":questions") for name in columns if name.endswith(":questions")]
    if result.task == "chair":
        found = {**chair.FORMULAS, **(text.BLEU if "match_1" in columns else {})}
        return found if "repeating" in columns else {name: f for name, f in found.items() if name != "repetition"}
    if result.task == "pope":
        return pope.FORMULAS
    if result.task == "mme":
        return mme.formulas([name.removesuffix(":images") for name in columns if name.endswith(":images")])
    if result.task in ("gqa", "scienceqa", "qbench"):
        return choice.formulas(groups)
    if result.task == "amber":
        return amber.GENERATIVE if "responses" in columns else amber.DISCRIMINATIVE
    raise DataError(
        f"{result.path}: unknown task '{result.task}'; known: chair, pope, mme, gqa, scienceqa, qbench, amber"
    )
