"""Where the repository and its bundled files lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
DATASET = ROOT / "dataset"
MINI_LLAVA = CHECKPOINTS / "mini-llava"
MINI_CLIP = CHECKPOINTS / "mini-clip"
MINI_DATA = DATASET / "mini" / "data"


def display(path: Path | str) -> str:
    """The path as a user would type it: relative to the working directory where that is shorter."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError, OSError):  # elsewhere; links in a circle; a working directory that is gone
        return str(path)
