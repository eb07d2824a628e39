"""Preprocessing equal to Pillow's CLIP processor, and LLaVA's pad mode."""

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
from common.models.parts.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing, read_preprocessing


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 150), height=st.integers(1, 150), side=st.sampled_from([28, 56, 111]))
def test_crop_equals_the_clip_processor(width: int, height: int, side: int) -> None:
    from transformers import CLIPImageProcessorPil

    image = noise(width, height)
    theirs = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    expected = theirs([image], return_tensors="pt")["pixel_values"]
    assert torch.equal(Preprocessing(side, side)([image]), expected)


def test_squash_ignores_the_aspect_ratio() -> None:
    image = noise(90, 31)
    resized = np.asarray(image.resize((28, 28), Image.Resampling.BICUBIC)).astype(np.float32) / 255
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
