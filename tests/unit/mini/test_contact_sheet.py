"""The sheet of scenes: one of each, in order, and a small file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import ArgumentError, DataError
from common.paths import ROOT
from dataset.mini.contact_sheet import GAP, main, recognise, sheet
from dataset.mini.layout import IMAGE_SIZE


def test_pictures_stand_row_by_row() -> None:
    colours = ["red", "green", "blue"]
    found = sheet([Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), c) for c in colours], columns=2)
    assert found.size == (2 * IMAGE_SIZE + GAP, 2 * IMAGE_SIZE + GAP)
    step = IMAGE_SIZE + GAP
    assert [found.getpixel(place) for place in ((0, 0), (step, 0), (0, step), (step, step))] == [
        (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255),
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match="--columns is 0"):
        sheet([], columns=0)


def test_the_bundled_sheet_is_what_the_script_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--output_path", str(tmp_path / "sheet.png")])
    assert "sheet.png: 924x228" in capsys.readouterr().out
    bundled = ROOT / "assets" / "mini_world.png"
    assert bundled.stat().st_size < 200_000
    recognise(bundled)
    main(["--output_path", str(tmp_path / "sheet.png")])
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"mine\.png is there already"):
        main(["--output_path", str(tmp_path / "mine.png")])
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    with Image.open(bundled) as a, Image.open(tmp_path / "sheet.png") as b:
        assert a.size == b.size
        difference = np.asarray(a.convert("RGB"), dtype=int) - np.asarray(b.convert("RGB"), dtype=int)
        assert np.abs(difference).mean() < 3  # another release of Pillow may choose another palette
