"""Images by name: what a folder holds, and that no name leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from common.args import parse
from common.errors import ArgumentError, DataError
from common.files.images import ImageFolder, image_names
from evaluate.compare import CompareArguments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images inside, one in a folder below, one outside."""
    inside = tmp_path / "images"
    (inside / "below").mkdir(parents=True)
    for path in (inside / "2.png", inside / "1.PNG", inside / "below" / "3.png", tmp_path / "outside.png"):
        Image.new("RGB", (2, 2)).save(path)
    return inside


def test_what_is_no_image_is_not_listed(folder: Path) -> None:
    (folder / "._1.png").write_bytes(b"\0\5\x16\7\0")
    (folder / "notes.txt").write_text("x")
    (folder / "folder.png").mkdir()
    assert image_names(folder) == ["1.PNG", "2.png"] == ImageFolder(folder).names()
    for path in folder.iterdir():
        if path.name in ("1.PNG", "2.png"):
            path.unlink()
    with pytest.raises(DataError, match="no images in"):
        ImageFolder(folder).names()


@pytest.mark.parametrize(
    "name", ["../outside.png", "below/../../outside.png", "..", ".", "", "/", "{abs}", "below/..", "a\0.png", "//x.png"]
)
def test_a_name_stays_inside(name: str, folder: Path) -> None:
    name = name.replace("{abs}", str(folder / "2.png"))
    images = ImageFolder(folder, "--the_flag")
    for use in (images.open, images.file, lambda n: images.require([n]), lambda n: images.open_all([n])):
        with pytest.raises(DataError, match=r"is outside the folder .*from --the_flag"):
            use(name)
    assert not images.lost


def test_names_below_and_admitted_ones(folder: Path) -> None:
    images = ImageFolder(folder)
    images.require(["2.png", "below/3.png"])
    assert images.open("below/3.png") is not None
    elsewhere = str(folder.parent / "outside.png")
    images.admitted = frozenset([elsewhere])
    images.require([elsewhere])
    assert images.open(elsewhere) is not None


@pytest.mark.parametrize("name", ["4.png", "x" * 5000 + ".png", "2.png/1.png", "\udcff.png"])
def test_missing_images_are_named_and_unreadable_ones_counted(name: str, folder: Path) -> None:
    images = ImageFolder(folder)
    with pytest.raises(DataError, match="1 missing in all"):
        images.require(["2.png", name])
    assert images.open(name) is None
    assert list(images.lost) == [name]


def test_what_is_kept_of_an_image_is_the_callers_choice(folder: Path) -> None:
    images = ImageFolder(folder, reduced=lambda image: image.resize((1, 1)))
    found = images.open("2.png")
    assert found is not None and found.size == (1, 1)


def test_a_name_that_no_result_can_hold_is_refused_at_once(folder: Path) -> None:
    (folder / "a\udcff.png").write_bytes((folder / "2.png").read_bytes())
    with pytest.raises(DataError, match=r"'a\\udcff\.png' in .* has no UTF-8 name"):
        ImageFolder(folder).names()


def test_a_flag_that_no_manifest_can_hold_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"--result_path is 'a\\udcff', which is no UTF-8"):
        parse([CompareArguments], "", ["--result_path", "a\udcff"])
