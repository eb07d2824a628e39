"""Where the logs go, without ever asking for a login and without touching anything the environment says already."""

from __future__ import annotations

import netrc
import os
from pathlib import Path

from common.progress import announce

PROJECT = "efuf"
WANDB_HOST = "api.wandb.ai"


def prepare_tracking(report_to: str, user: str | None, folder: Path) -> None:
    """Set W&B's defaults: offline unless the user is logged in, files in the run's folder.

    Variables that are set already (WANDB_MODE, WANDB_PROJECT, proxies ...) are respected.
    """
    if report_to != "wandb":
        return
    defaults = {"WANDB_PROJECT": PROJECT, "WANDB_DIR": str(folder)}
    if not is_logged_in():
        defaults["WANDB_MODE"] = "offline"
    if user:
        defaults["WANDB_ENTITY"] = user
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if os.environ.get("WANDB_MODE") == "offline":
        announce("W&B logs offline (not logged in); upload later with `wandb sync`, or use --report_to none")


def is_logged_in() -> bool:
    """Whether W&B has a key: in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
