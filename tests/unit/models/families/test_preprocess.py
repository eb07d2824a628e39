"""Preprocessing equal to the CLIP processor with Pillow up to 12, and LLaVA's pad mode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import ArgumentError, CheckpointError, DataError
from common.models.parts.preprocess import CLIP_MEAN, CLIP_STD, FITS, Preprocessing, resize
from common.models.parts.preprocess_files import read_preprocessing
from tests.unit.models.families.plain_resize import resize as plain_resize


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=25, deadline=None)
@given(sides=st.tuples(st.integers(1, 150), st.integers(1, 150)), side=st.sampled_from([28, 56, 111]))
def test_crop_equals_the_clip_processor(sides: tuple[int, int], side: int) -> None:
    """Of pictures that are no taller than wide: Pillow 13, which the processor calls, resizes tall ones otherwise."""
    from transformers import CLIPImageProcessorPil

    image = noise(max(sides), min(sides))
    theirs = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    expected = theirs([image], return_tensors="pt")["pixel_values"]
    assert torch.equal(Preprocessing(side, side)([image]), expected)


SHAPES = [(90, 31), (31, 90), (60, 60), (200, 37), (37, 200), (9, 20), (20, 9), (12, 12)]  # wide, tall, square


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(28, 28), (56, 40), (40, 56), (300, 20), (20, 300)])
@pytest.mark.parametrize("resample", [1, 2, 3])
def test_resizing_is_that_of_pillow_up_to_12_whatever_is_installed(
    shape: tuple[int, int], size: tuple[int, int], resample: int
) -> None:
    image = noise(*shape)
    assert np.array_equal(np.asarray(resize(image, size, resample)), plain_resize(np.asarray(image), size, resample))


@settings(max_examples=40, deadline=None)
@given(sides=st.tuples(st.integers(1, 120), st.integers(1, 120)), fit=st.sampled_from(FITS))
def test_pixels_are_the_plain_ones(sides: tuple[int, int], fit: str) -> None:
    """Any shape, both ways of scaling, against integers and floats of numpy alone."""
    image, side = noise(*sides), 24
    pixels = np.asarray(image)
    (width, height), size = sides, (side, side)
    if fit == "pad":
        square = np.empty((max(sides), max(sides), 3), np.uint8)
        square[:] = [int(value * 255) for value in CLIP_MEAN]
        top, left = (max(sides) - height) // 2, (max(sides) - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    elif fit == "crop":
        size = (int(side * width / min(sides)), int(side * height / min(sides)))
    resized = plain_resize(pixels, size, 3)
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    cut = resized[top : top + side, left : left + side].astype(np.float64) / 255
    right = (cut - CLIP_MEAN) / CLIP_STD
    np.testing.assert_allclose(Preprocessing(side, side, fit)([image])[0].permute(1, 2, 0).numpy(), right, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    sides=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    fit=st.sampled_from(FITS),
    crop=st.sampled_from([20, 24]),
    mode=st.sampled_from(["RGB", "RGBA", "L"]),
)
def test_what_is_kept_of_a_large_image_gives_the_same_pixels(
    sides: tuple[int, int], fit: str, crop: int, mode: str
) -> None:
    image, preprocessing = noise(*sides).convert(mode), Preprocessing(24, crop if fit == "crop" else 24, fit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.models.parts.preprocess.SMALL", 0)
        kept = preprocessing.reduced(image)
    assert torch.equal(preprocessing([kept]), preprocessing([image]))
    assert kept.width * kept.height <= image.width * image.height


def test_a_photo_is_kept_small() -> None:
    kept = Preprocessing(336, 336).reduced(Image.new("RGB", (4000, 3000)))
    assert kept.size == (448, 336)
    small = Image.new("RGB", (640, 480))
    assert Preprocessing(336, 336).reduced(small) is small


@pytest.mark.parametrize(("fit", "size"), [("crop", (1, 70_000)), ("pad", (20_000, 10)), ("crop", (0, 3))])
def test_sides_without_measure_are_an_error_before_memory_is_taken(fit: str, size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(336, 336, fit)
    for use in (preprocessing.reduced, lambda image: preprocessing([image])):
        with pytest.raises(DataError, match="leave it out"):
            use(Image.new("RGB", size))


def test_squash_ignores_the_aspect_ratio() -> None:
    image = noise(90, 31)
    resized = plain_resize(np.asarray(image), (28, 28), 3).astype(np.float32) / 255
    expected = (resized - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    found = Preprocessing(28, 28, "squash")([image])[0].permute(1, 2, 0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("size", "box"), [((60, 21), (0, 19)), ((21, 60), (19, 0)), ((30, 30), (0, 0))])
def test_t4_pad_mode_pastes_on_a_square_of_the_mean_colour(size: tuple[int, int], box: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (250, 10, 20))
    side = max(size)
    square = Image.new("RGB", (side, side), (122, 116, 104))
    square.paste(image, box)
    expected = Preprocessing(28, 28)([square])
    assert torch.equal(Preprocessing(28, 28, "pad")([image]), expected)
    if size[0] != size[1]:
        assert not torch.equal(Preprocessing(28, 28, "crop")([image]), expected)


def test_other_modes_become_rgb_and_an_empty_batch_is_empty() -> None:
    assert Preprocessing(28, 28)([noise(30, 40).convert("L"), noise(30, 40).convert("P")]).shape == (2, 3, 28, 28)
    assert Preprocessing(28, 28)([]).shape == (0, 3, 28, 28)


def test_a_zero_side_is_an_error() -> None:
    with pytest.raises(DataError, match="0x5 pixels"):
        Preprocessing(28, 28)([Image.new("RGB", (0, 5))])


@pytest.mark.parametrize(
    "sizes",
    [
        {"size": 30, "crop_size": 28},
        {"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 28}},
    ],
)
def test_sizes_are_numbers_or_mappings(sizes: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**sizes, "image_mean": [0.5] * 3, "resample": 2}))
    found = read_preprocessing(tmp_path, 28, "crop")
    assert (found.size, found.crop, found.mean, found.std, found.resample) == (30, 28, (0.5,) * 3, CLIP_STD, 2)


def test_bad_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="unknown image fit stretch"):
        Preprocessing(28, 28, "stretch")
    (tmp_path / "preprocessor_config.json").write_text('{"crop_size": 224}')
    with pytest.raises(CheckpointError, match="crops to 224 pixels, but the vision encoder takes 28"):
        read_preprocessing(tmp_path, 28, "crop")
    assert read_preprocessing(None, 28, "pad") == Preprocessing(28, 28, "pad")
