"""Scenes before and after painting: numbers, places, and what each part of the picture is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dataset.mini.categories import BY_NAME
from dataset.mini.layout import IMAGE_SIZE, Box, Instance, Layout, generator, make_layout
from dataset.mini.paint import paint
from dataset.mini.scenes import SCENES
from dataset.mini.sprites import sprite
from dataset.mini.vision_warmup import GRID, LOOK_NUMBER, NOTHING, PATCH, patch_labels

COUNT = 150


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    """Some scenes of a stream that nothing else is drawn from."""
    return [make_layout(generator("tune", 77, index)) for index in range(COUNT)]


def test_three_to_eight_objects_of_at_most_five_types(layouts: list[Layout]) -> None:
    sizes = Counter(len(layout.instances) for layout in layouts)
    assert min(sizes) >= 3 and max(sizes) <= 8 and len(sizes) >= 5
    assert all(1 <= len(layout.present()) <= 5 for layout in layouts)
    assert any(number > 1 for layout in layouts for number in layout.counts().values())
    assert all(sum(layout.counts().values()) == len(layout.instances) for layout in layouts)


def test_scenes_are_all_drawn_with_few_strangers(layouts: list[Layout]) -> None:
    assert {layout.scene.name for layout in layouts} == {scene.name for scene in SCENES}
    kinds = [(layout.scene, name) for layout in layouts for name in layout.present()]
    strangers = sum(name not in scene.typical for scene, name in kinds) / len(kinds)
    assert 0.02 < strangers < 0.15


def test_boxes_lie_inside_the_picture(layouts: list[Layout]) -> None:
    rng = np.random.default_rng(0)
    for layout in layouts:
        picture, drawn = paint(layout, rng)
        assert picture.size == (IMAGE_SIZE, IMAGE_SIZE) and picture.mode == "RGB"
        assert [i.look for i in drawn.instances] == [i.look for i in layout.instances]
        for box in (i.box for i in (*layout.instances, *drawn.instances)):
            assert box.left >= 0 and box.top >= 0 and max(box.width, box.height) > 12 and min(box.width, box.height) > 3
            assert box.left + box.width <= IMAGE_SIZE and box.top + box.height <= IMAGE_SIZE


def test_objects_overlap_little(layouts: list[Layout]) -> None:
    worst = [
        max(a.box.overlap(b.box) for i, a in enumerate(layout.instances) for b in layout.instances[:i])
        for layout in layouts
    ]
    assert np.mean(np.array(worst) > 0) > 0.2  # some overlap is wanted
    assert np.mean(worst) < 0.3


def test_overlap_is_the_share_of_the_smaller_box() -> None:
    large, small = Box(0, 0, 10, 10), Box(5, 5, 2, 2)
    assert large.overlap(small) == small.overlap(large) == 1
    assert large.overlap(Box(9, 0, 10, 10)) == pytest.approx(0.1)
    assert large.overlap(Box(10, 0, 10, 10)) == 0


def test_the_picture_depends_on_split_seed_and_index_alone() -> None:
    def pixels(split: str, seed: int, index: int) -> bytes:
        rng = generator(split, seed, index)
        return paint(make_layout(rng), rng)[0].tobytes()

    first = pixels("train", 0, 3)
    assert pixels("train", 0, 3) == first
    others = [pixels("eval", 0, 3), pixels("tune", 0, 3), pixels("pretrain", 0, 3), pixels("train", 1, 3)]
    assert len({first, *others}) == 5


def test_the_same_emoji_looks_different_each_time() -> None:
    rng = np.random.default_rng(1)
    pictures = {sprite("\U0001f415", 32, rng).tobytes() for _ in range(6)}
    assert len(pictures) == 6


def layout_of(*places: tuple[str, Box]) -> Layout:
    """A scene with these objects, back to front."""
    instances = tuple(Instance(BY_NAME[name], BY_NAME[name].looks[0], box) for name, box in places)
    return Layout(SCENES[0], instances)


def test_patch_labels_say_what_is_in_front() -> None:
    dog, cat = Box(0, 0, 3 * PATCH, 2 * PATCH), Box(2 * PATCH, PATCH, PATCH, PATCH)
    labels = patch_labels(layout_of(("dog", dog), ("cat", cat))).reshape(GRID, GRID)
    number = {name: LOOK_NUMBER[name, BY_NAME[name].looks[0].emoji] for name in ("dog", "cat")}
    assert (labels[:2, :2] == number["dog"]).all()
    assert labels[1, 2] == number["cat"] and labels[0, 2] == number["dog"]
    assert (labels == NOTHING).sum() == GRID * GRID - 6


def test_looks_are_numbered_from_one_without_gaps() -> None:
    assert sorted(LOOK_NUMBER.values()) == list(range(1, len(LOOK_NUMBER) + 1))
    assert len(LOOK_NUMBER) < 256  # a label is a byte
