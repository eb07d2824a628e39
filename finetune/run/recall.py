"""What a run that goes on finds of its probes: they must be those that it made, as they decide what is kept.

A checkpoint holds the log until its step, and every probe is logged. So what was edited, torn or put there from another
run is known before a step is done again, as are best weights that cannot be read, which would be missed at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import CheckpointError, DataError
from common.models.checkpoints.files import open_file
from common.paths import display
from finetune.probe.measure import Measure
from finetune.run.folder import WEIGHTS

PREFIX = "probe_"


def require_logged(known: Mapping[int, Measure], log: Iterable[Mapping[str, Any]], step: int, path: Path) -> None:
    """Raise DataError if the probes up to a step are not those of a checkpoint's log.

    Args:
        known: those of `path`, by step.
        log: of the checkpoint after `step` steps.
    """
    logged = {entry["step"]: _of_a_probe(entry) for entry in log if _of_a_probe(entry)}
    found = {number: probe.logged() for number, probe in known.items() if number <= step}
    for number in sorted(logged.keys() | found.keys()):
        if logged.get(number) != found.get(number):
            raise DataError(
                f"{display(path)}: the probe of step {number} is not the one that the run made "
                f"({_first_difference(found.get(number), logged.get(number))}); put the run's own file back, or use "
                "--restart"
            )


def _of_a_probe(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name.startswith(PREFIX)}


def _first_difference(found: Mapping[str, Any] | None, logged: Mapping[str, Any] | None) -> str:
    if found is None:
        return "it is missing"
    if logged is None:
        return "the run made none there"
    name = next(n for n in sorted(found.keys() | logged.keys()) if found.get(n) != logged.get(n))
    return f"{name.removeprefix(PREFIX)} {found.get(name)}, not {logged.get(name)}"


def require_best(folder: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError if the best weights cannot be read, or are of other parameters.

    Args:
        folder: that holds them.
        names: of the trained parameters.
    """
    try:
        held = set(open_file(folder / WEIGHTS, "best weights", "--restart").shapes())
    except CheckpointError as error:
        raise CheckpointError(f"{error}, or use --restart") from None
    if held != {name.replace(".base_layer.", ".") for name in names}:
        raise CheckpointError(f"{display(folder)} does not hold the parameters that this run trains; use --restart")
