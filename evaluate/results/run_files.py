"""Names of result files that no flag gave: by task, run name, model and checkpoint, below `results/`."""

from __future__ import annotations

from pathlib import Path

from common.args import ModelArguments
from common.errors import ArgumentError
from common.paths import ROOT

RESULTS = ROOT / "results"


def run_file(task: str, run_name: str | None, model: ModelArguments, ending: str) -> Path:
    """`results/TASK/[RUN_NAME_]MODEL_CHECKPOINT` with the ending; the checkpoint is `base` where none is laid over.

    Raises ArgumentError for a run name that is no file name.
    """
    check_name(run_name)
    checkpoint = Path(model.given("ckpt_load_path") or "base")
    parts = (run_name, model.model, checkpoint.stem if checkpoint.suffix == ".pth" else checkpoint.name)
    return RESULTS / task / ("_".join(part for part in parts if part) + ending)


def check_name(run_name: str | None) -> None:
    """Raise ArgumentError for a run name that is no file name."""
    if run_name is not None and (Path(run_name).name != run_name or run_name.startswith(".")):
        raise ArgumentError(f"--run_name is '{run_name}'; give a name that a file can have, without slashes")
