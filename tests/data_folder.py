"""The optional folder of real test data: photos, annotations and captions of real models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.paths import ROOT


def real_data() -> Path:
    """The folder that EFUF_DATA names, or `data` of the folder `shared` beside the repository; skips if absent."""
    folder = Path(os.environ.get("EFUF_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}; set EFUF_DATA to its folder")
    return folder
