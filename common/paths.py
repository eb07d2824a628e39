"""Where the repository and its bundled files lie."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
DATASET = ROOT / "dataset"
MINI_LLAVA = CHECKPOINTS / "mini-llava"
MINI_CLIP = CHECKPOINTS / "mini-clip"
MINI_DATA = DATASET / "mini" / "data"


def display(path: Path | str) -> str:
    """The path as a user would type it: relative to the working directory where that is shorter."""
    try:
        return _from(os.getcwd(), str(path))  # noqa: PTH109 (pathlib's costs more than the rest)
    except OSError:  # a working directory that is gone
        return str(Path(path))


@lru_cache(maxsize=256)
def _from(folder: str, path: str) -> str:
    """The path as seen from a folder; kept, since files are named line by line and resolving asks the file system."""
    try:
        return str(Path(folder, path).resolve().relative_to(folder))
    except (ValueError, RuntimeError, OSError):  # elsewhere; links in a circle
        return str(Path(path))
