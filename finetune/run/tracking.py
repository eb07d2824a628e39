"""Where the logs go, without ever asking for a login and without touching anything the environment says already."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import MissingDependencyError
from common.progress import announce

PROJECT = "efuf"
WANDB_HOST = "api.wandb.ai"


def prepare_tracking(trackers: Sequence[str], user: str | None, folder: Path) -> None:
    """Set the trackers' defaults: files in the run's folder, W&B offline unless the user is logged in.

    Variables that are set already (WANDB_MODE, MLFLOW_TRACKING_URI, proxies ...) are respected. Raises
    MissingDependencyError for a tracker that is not installed.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise MissingDependencyError(f"--report_to {tracker} needs the package {tracker}: pip install {tracker}")
        for name, value in _defaults(tracker, user, folder).items():
            os.environ.setdefault(name, value)
    if "wandb" in trackers and os.environ.get("WANDB_MODE") == "offline":
        announce("W&B logs offline (not logged in); upload later with `wandb sync`, or use --report_to none")


def _defaults(tracker: str, user: str | None, folder: Path) -> dict[str, str]:
    if tracker == "tensorboard":
        return {"TENSORBOARD_LOGGING_DIR": str(folder / "logs")}
    if tracker == "mlflow":
        return {"MLFLOW_TRACKING_URI": (folder / "mlruns").resolve().as_uri(), "MLFLOW_EXPERIMENT_NAME": PROJECT}
    offline = {} if is_logged_in() else {"WANDB_MODE": "offline"}
    return {"WANDB_PROJECT": PROJECT, "WANDB_DIR": str(folder), **offline, **({"WANDB_ENTITY": user} if user else {})}


def is_logged_in() -> bool:
    """Whether W&B has a key: in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
