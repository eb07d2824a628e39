"""One layout, the published one: what `prepare.py` checks is what the scripts find without flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from common.errors import DataError
from common.files.places import PUBLISHED, image_folder, inputs, placed
from dataset.expected_files import LAYOUTS
from dataset.prepare import check, check_published


def picture(path: Path) -> None:
    """A small picture, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


@pytest.mark.parametrize("below", ["images", "images/train2014"])
def test_images_are_found_in_the_folder_or_in_train2014_below_it(tmp_path: Path, below: str) -> None:
    picture(tmp_path / below / "COCO_train2014_000000000001.jpg")
    span = {"image": "COCO_train2014_000000000001.jpg", "sentence": "a dog", "position": 0, "score": 40.0}
    (tmp_path / "pos_neg.json").write_text(json.dumps([span]))
    assert image_folder(tmp_path / "images") == tmp_path / below
    (row,) = check_published(tmp_path)
    assert row.ok and "0 of their images not there" in row.found
    counted = next(check(expected, tmp_path) for expected in LAYOUTS["published"] if expected.path == "images")
    assert counted.found == "1 of 82,783 images"
    found = inputs({"image_dir_path": None}, {"image_dir_path": (tmp_path / "images",)})
    assert found["image_dir_path"] == tmp_path / below


def test_what_is_missing_is_listed_at_once_with_its_place(tmp_path: Path) -> None:
    places = {"a_path": (tmp_path / "a", tmp_path / "b"), "b_path": (tmp_path / "c",), "d_path": (tmp_path / "d",)}
    (tmp_path / "d").touch()
    with pytest.raises(DataError) as caught:
        inputs({"a_path": None, "b_path": str(tmp_path / "x"), "d_path": None}, places)
    said = str(caught.value)
    assert "--a_path is needed, as there is no" in said and "/a;" in said
    assert f"--b_path {tmp_path / 'x'} is not there" in said and "--d_path" not in said and "\n" not in said


def test_the_first_place_that_exists_is_taken_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").touch()
    assert placed("a_path", {"a_path": (tmp_path / "a", tmp_path / "b")}) == tmp_path / "b"
    assert f"no --a_path: using {tmp_path / 'b'}" in capsys.readouterr().err
    assert placed("a_path", {"a_path": (tmp_path / "a",)}) is None


def test_every_place_of_the_training_set_is_one_that_prepare_checks() -> None:
    checked = {expected.path for kind in LAYOUTS.values() for expected in kind}
    named = [places[0] for flag, places in PUBLISHED.items() if flag not in ("annotation_path", "gold_image_dir_path")]
    assert {str(Path(*place.parts[place.parts.index("dataset") + 1 :])) for place in named} <= checked
