"""Tower outputs on disk: what is read back, and what is made anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.files.images import ImageFolder
from common.models import load_model
from finetune.features.feature_folder import FeatureFolder, tower_key
from finetune.features.in_use import InUse
from finetune.features.tower_cache import TowerCache
from tests.training_world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three images."""
    return make_world(tmp_path_factory.mktemp("features") / "world", captions=3)


@pytest.fixture
def cache(world: World, tmp_path: Path) -> TowerCache:
    """Nothing in memory."""
    model = load_model("llava", world.model, vit_path=world.model / "tower")
    folder = FeatureFolder(tmp_path / "kept", tower_key(model), world.images)
    return TowerCache(model, ImageFolder(world.images), 0, folder)


NAMES = ["000000000000.png", "000000000001.png"]


def test_what_is_read_is_what_the_tower_gave(cache: TowerCache) -> None:
    """Bit for bit, and without opening an image again."""
    made = cache(NAMES)
    opened = cache.images.opened
    assert torch.equal(cache(NAMES), made) and cache.images.opened == opened == 2
    plain = replace(cache, folder=None)
    assert torch.equal(plain(NAMES), made)


def test_filling_goes_on_where_it_was(cache: TowerCache) -> None:
    """Only what is missing is encoded."""
    cache.fill(NAMES[:1])
    cache.fill(NAMES)
    assert cache.images.opened == 2
    assert cache.folder is not None and all(cache.folder.holds(name) for name in NAMES)


def test_broken_stale_and_foreign_files_are_made_anew(cache: TowerCache, tmp_path: Path) -> None:
    """A cut file, one of another image, one of an image that has changed since."""
    folder = cache.folder
    assert folder is not None
    made = cache(NAMES)
    path = folder.file(NAMES[0])
    path.write_bytes(path.read_bytes()[:-7])
    assert folder.read(NAMES[0]) is None
    path.write_bytes(folder.file(NAMES[1]).read_bytes())
    assert folder.read(NAMES[0]) is None
    assert torch.equal(cache(NAMES), made) and torch.equal(cache(NAMES), made)
    images = tmp_path / "images"
    images.mkdir()
    for name in NAMES:
        (images / name).write_bytes((cache.images.path / name).read_bytes())
    moved = replace(folder, images=images)
    moved.write(NAMES[0], {"seen": made[0]})
    Image.new("RGB", (9, 9)).save(images / NAMES[0])
    assert moved.read(NAMES[0]) is None


def test_no_half_written_file_is_left(cache: TowerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves nothing under the final name, and is done without."""

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    folder = cache.folder
    assert len(cache(NAMES[:1])) == 1 and cache.folder is None
    assert folder is not None and not folder.holds(NAMES[0])


def test_what_killed_writers_left_goes_when_nobody_else_is_there(cache: TowerCache) -> None:
    """Also of another tower; never the user's own files, and nothing while another process may be writing."""
    folder = cache.folder
    assert folder is not None
    file = folder.file(NAMES[0])
    left = [
        file.with_name(f".{file.name}.7.tmp"),
        folder.path / "0123456789abcdef" / "ab" / f".{'ab' * 16}.safetensors.12.tmp",
    ]
    theirs = [
        folder.path / ".notes.tmp",
        file.with_name(".notes.tmp"),
        folder.path / "a" / "b" / ".c.safetensors.1.tmp",
    ]
    for path in (*left, *theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in theirs:
        path.write_text("mine")
    left[0].mkdir()
    (left[0] / "half.safetensors").write_text("half")
    left[1].write_text("half")
    other = InUse(folder.path, list)
    replace(cache).fill(NAMES)
    assert all(path.exists() for path in (*left, *theirs))
    del other
    replace(cache).fill(NAMES)
    assert not any(path.exists() for path in left) and all(path.read_text() == "mine" for path in theirs)
    assert folder.holds(NAMES[0])


def test_a_folder_that_cannot_be_is_done_without(cache: TowerCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert cache.folder is not None
    cache.folder = replace(cache.folder, path=tmp_path / "file" / "kept")
    cache.fill(NAMES)
    assert cache.folder is None and len(cache(NAMES)) == 2


def test_the_key_is_that_of_weights_preprocessing_and_dtype(cache: TowerCache) -> None:
    """Each of them alone makes another."""
    model = cache.model
    keys = {tower_key(model)}
    model.preprocessing = replace(model.preprocessing, fit="pad")
    keys.add(tower_key(model))
    with torch.no_grad():
        next(model.vision.parameters()).add_(1e-3)
    keys.add(tower_key(model))
    keys.add(tower_key(model.to(torch.bfloat16)))
    assert len(keys) == 4
