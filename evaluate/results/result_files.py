"""Reading results back, with the counts of each item and the formulas that belong to their task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.files.storage import read_json
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


def read_result(path: Path | str) -> StoredResult:
    """Read a `--result_path` file. Raises DataError if it is none, or was written without its items."""
    value = read_json(path)
    try:
        manifest, stored = value["manifest"], value["units"]
        counts = np.array(stored["counts"], dtype=np.float64).reshape(len(stored["ids"]), len(stored["columns"]))
        units = Units(tuple(stored["ids"]), tuple(stored["columns"]), counts, tuple(stored.get("clusters", ())))
        task, definition, version = (str(value[name]) for name in ("task", "definition", "version"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{display(path)}: not a result with its items ({type(error).__name__}: {error}); "
            "write it anew with --result_path"
        ) from None
    protocol = {name: manifest[name] for name in ("prompt", "parser", "captioning") if manifest.get(name)}
    return StoredResult(display(path), task, definition, version, protocol, units)


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
