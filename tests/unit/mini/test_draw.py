"""The files of the mini world: COCO format, the same bytes for the same seed, splits that share nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from common.errors import ArgumentError
from common.files.coco import read_annotations
from common.files.storage import read_json
from dataset.mini import draw
from dataset.mini.categories import BY_NAME
from dataset.mini.draw import FIRST_ID, draw_split
from dataset.mini.layout import IMAGE_SIZE, SPLITS

COUNT = 6


def hashes(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of all files below."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both usual splits of seed 0, a few images each."""
    folder = tmp_path_factory.mktemp("mini")
    for split in ("train", "eval"):
        draw_split(folder, split, 0, COUNT)
    return folder


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    for split in ("train", "eval"):
        draw_split(tmp_path, split, 0, COUNT)
    assert hashes(tmp_path) == hashes(world)
    assert len(hashes(world)) == 2 * (COUNT + 2)


def test_more_images_leave_the_first_as_they_are(world: Path, tmp_path: Path) -> None:
    draw_split(tmp_path, "train", 0, COUNT + 2)
    images = hashes(tmp_path / "train" / "images")
    assert hashes(world / "train" / "images").items() < images.items()


def test_other_seeds_and_splits_give_other_pictures(world: Path, tmp_path: Path) -> None:
    draw_split(tmp_path, "train", 1, COUNT)
    seen = [set(hashes(f / "images").values()) for f in (world / "train", world / "eval", tmp_path / "train")]
    assert len(set.union(*seen)) == 3 * COUNT


def test_ids_of_the_splits_cannot_meet() -> None:
    assert set(FIRST_ID) == set(SPLITS) - {"pretrain"}
    assert min(b - a for a in FIRST_ID.values() for b in FIRST_ID.values() if b > a) > 100_000


def test_annotations_are_coco_and_match_the_pictures(world: Path) -> None:
    annotations = read_annotations(world / "train" / "annotations")
    value = read_json(world / "train" / "annotations" / "instances_train.json")
    assert {c["name"]: c["id"] for c in value["categories"]} == {name: c.id for name, c in BY_NAME.items()}
    for entry in value["images"]:
        with Image.open(world / "train" / "images" / entry["file_name"]) as picture:
            assert picture.size == (entry["width"], entry["height"]) == (IMAGE_SIZE, IMAGE_SIZE)
        assert len(annotations.captions[entry["id"]]) == 5
        own = [a for a in value["annotations"] if a["image_id"] == entry["id"]]
        assert 3 <= len(own) <= 8
        for left, top, width, height in (a["bbox"] for a in own):
            assert 0 <= left <= left + width <= IMAGE_SIZE and 0 <= top <= top + height <= IMAGE_SIZE
    numbers = [a["id"] for a in value["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_script_draws_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--train_images", "2", "--eval_images", "0", "--tune_images", "1"]
    monkeypatch.setattr("sys.argv", ["draw.py", "--output_dir", str(tmp_path), *sizes])
    draw.main()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train", "tune"]
    assert len(list((tmp_path / "train" / "images").iterdir())) == 2


def test_a_negative_number_of_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["draw.py", "--output_dir", str(tmp_path), "--eval_images", "-3"])
    with pytest.raises(ArgumentError, match="--eval_images is -3"):
        draw.main()
    assert not list(tmp_path.iterdir())
