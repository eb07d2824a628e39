"""A family that transformers gains comes to work without a word about it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import CheckpointError
from common.models import load_model
from tests.families import steps
from tests.families.calling import Case
from tests.unit.models.families.newcomer import known, write_newcomer


def test_a_family_that_nothing_here_has_heard_of(tmp_path: Path) -> None:
    """It is taken apart, captions by trees, trains what lies between eyes and mind in packs, and goes on."""
    case = Case(tmp_path / "newcomer", tmp_path / "data", tmp_path / "out")
    case.out.mkdir()
    steps.write_data(case.data)
    write_newcomer(case.base)
    with pytest.raises(CheckpointError, match="knows no model type newcomer_vl; it may be too old"):
        load_model("auto", case.base)
    with known():
        model: Any = load_model("auto", case.base)
        found = model.anatomy
        assert (found.towers, found.connector) == (("eyes",), ("gap", "bridge"))
        assert (found.decoder, found.head) == ("mind", "word") and model.packs and model.sees_apart
        assert steps.caption(case) == "trees"
        assert steps.packed(case) == steps.connector(case) == "yes"
        assert steps.resume(case) == "same bytes"
