"""Images to pixel tensors with Pillow and numpy, equal to what the published models were trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.errors import ArgumentError, DataError
from common.files.pixels import MOST_PIXELS, to_rgb

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
FITS = ("crop", "pad", "squash")
SMALL = 1 << 20  # pixels of an image that need not be reduced


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a square of pixels.

    Args:
        size: length that the shortest side is scaled to (for `squash`: both sides).
        crop: side of the final square, cut from the centre.
        fit: `crop` scales the shortest side; `pad` first pastes the image on a square of the mean colour, as LLaVA
            upstream does; `squash` ignores the aspect ratio.
        mean, std: per channel, of values in 0..1.
        resample: Pillow's number; 3 is bicubic.
    """

    size: int
    crop: int
    fit: str = "crop"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resample: int = 3

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ArgumentError(f"unknown image fit {self.fit} (from --image_aspect_ratio); known: {', '.join(FITS)}")

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """PIL images to [n, 3, crop, crop] float32. Raises DataError for a zero side, or one without end."""
        if not images:
            return torch.empty(0, 3, self.crop, self.crop)
        return torch.from_numpy(np.stack([self._normalised(self._square(image)) for image in images]))

    def reduced(self, image: Image.Image) -> Image.Image:
        """Of a large image what the pixels are made of, before the crop: resized; of a small one itself.

        Raises DataError for an image that cannot be resized.
        """
        self._check(image)
        if image.width * image.height <= SMALL:
            return image
        resized = self._resized(to_rgb(image))
        return resized if resized.width * resized.height < image.width * image.height else image

    def _square(self, image: Image.Image) -> Image.Image:
        self._check(image)
        resized = self._resized(to_rgb(image))
        return resized if self.fit == "squash" else centre_crop(resized, self.crop)

    def _check(self, image: Image.Image) -> None:
        """Raise DataError for a side of zero, or for sides so unlike that scaling one makes the other endless."""
        short, long = sorted(image.size)
        if short == 0:
            raise DataError(f"an image of {image.width}x{image.height} pixels has a zero side; leave it out")
        on_the_way = {"squash": 0, "pad": long * long, "crop": self.size * self.size * long // short}[self.fit]
        if on_the_way > MOST_PIXELS:
            raise DataError(f"an image of {image.width}x{image.height} pixels is too elongated; leave it out")

    def _resized(self, image: Image.Image) -> Image.Image:
        """Both sides `size`, or the shorter one."""
        if self.fit == "squash":
            return resize(image, (self.size, self.size), self.resample)
        if self.fit == "pad":
            image = pad_to_square(image, self.mean)
        short, long = sorted(image.size)
        scaled = int(self.size * long / short)
        size = (self.size, scaled) if image.width <= image.height else (scaled, self.size)
        return resize(image, size, self.resample)

    def _normalised(self, image: Image.Image) -> np.ndarray:
        # The order and widths of the CLIP processor: float64 product, float32 from there on.
        scaled = (np.asarray(image).astype(np.float64) * (1 / 255)).astype(np.float32)
        values: np.ndarray = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def resize(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Resize the width, then the height: the bytes of Pillow's own `resize` up to version 12.

    Pillow 13 takes the height of tall images first, which differs by up to 8 grey levels from what the models saw.
    """
    return image.resize((size[0], image.height), resample=resample).resize(size, resample=resample)


def pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Paste centred on a square of the longer side, filled with the mean colour."""
    side = max(image.size)
    if image.width == image.height:
        return image
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Cut a square of `side` from the centre; where the image is smaller, black fills the rest."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
