"""Images decoded ahead of the scorer, by any number of processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.files.images import ImageFolder, open_rgb
from common.relevance.decoding import decoded_groups, decoding_workers

GROUPS = (("0.jpg", "1.jpg", "broken.jpg"), ("2.jpg",), ("3.jpg", "4.jpg"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five JPEGs of several sizes, and one that is none."""
    for i in range(5):
        noise = np.random.default_rng(i).integers(0, 255, (40 + 8 * i, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_groups_come_in_order_with_the_pixels_that_pillow_decodes(folder, workers):
    images = ImageFolder(folder)
    groups = list(decoded_groups(images, GROUPS, "cpu", workers))
    assert [list(g) for g in groups] == [["0.jpg", "1.jpg"], ["2.jpg"], ["3.jpg", "4.jpg"]]
    for group in groups:
        for name, pixels in group.items():
            assert pixels.dtype == torch.uint8
            assert np.array_equal(pixels.numpy(), np.array(open_rgb(folder / name)))
    assert list(images.lost) == ["broken.jpg"]
    assert "broken.jpg" in images.lost["broken.jpg"]
    assert images.opened == 6


def test_a_process_that_dies_while_decoding_is_one_line(folder, monkeypatch):
    def killed(_images: ImageFolder, _name: str) -> Image.Image:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(ImageFolder, "read", killed)
    with pytest.raises(UserError, match="a process that decodes images died") as error:
        list(decoded_groups(ImageFolder(folder), GROUPS, "cpu", 1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "group", "cores", "gibibytes", "expected"),
    [
        ("cpu", 16, 64, 100, 0),
        ("cuda", 16, 8, 100, 8),
        ("cuda:1", 16, 64, 100, 16),
        ("cuda", 16, 16, 1, 4),  # each worker may have two groups of 16 images of 4 MiB on their way, in half of it
        ("cuda", 16, 16, 1 / 16, 0),  # a container's 64 MiB
    ],
)
def test_workers_are_bounded_by_cores_and_shared_memory(device, group, cores, gibibytes, expected):
    assert decoding_workers(device, group, cores, int(gibibytes * (1 << 30))) == expected
