"""Images to pixel tensors with Pillow and numpy, equal to what the published models were trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.errors import ArgumentError, CheckpointError, DataError
from common.files.json_text import as_record, shown
from common.files.pixels import MOST_PIXELS, to_rgb
from common.files.storage import read_record
from common.models.checkpoints.config_files import PixelValues, ProcessorValues
from common.paths import display

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
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


def read_preprocessing(folder: Path | None, image_size: int, fit: str) -> Preprocessing:
    """Preprocessing as a folder's files say, or CLIP's for `image_size` where they say nothing.

    Raises CheckpointError if they crop to what does not fit the vision encoder, or leave a step out; DataError for a
    value of the wrong type.
    """
    plain = Preprocessing(image_size, image_size, fit)
    path, values = _pixel_values(folder)
    if path is None:
        return plain
    where = display(path)
    size, squash = _side(values.size, "shortest_edge", image_size, where)
    crop, _ = _side(values.crop_size, "height", image_size if squash else size, where)
    if crop != image_size:
        raise CheckpointError(f"{where} crops to {crop} pixels, but the vision encoder takes {image_size}")
    fit = "squash" if squash and fit == "crop" else fit
    _check_steps(values, fit, where)
    return replace(
        plain,
        size=crop if fit == "squash" else size,
        crop=crop,
        fit=fit,
        mean=tuple(CLIP_MEAN if values.image_mean is None else values.image_mean),
        std=tuple(CLIP_STD if values.image_std is None else values.image_std),
        resample=3 if values.resample is None else values.resample,
    )


def _pixel_values(folder: Path | None) -> tuple[Path | None, PixelValues]:
    """As transformers: the part of processor_config.json where there is one, else preprocessor_config.json."""
    if folder is not None and (folder / PROCESSOR).is_file():
        inside = read_record(folder / PROCESSOR, ProcessorValues).image_processor
        if inside is not None:
            return folder / PROCESSOR, as_record(inside, PixelValues, display(folder / PROCESSOR))
    if folder is not None and (folder / PREPROCESSOR).is_file():
        return folder / PREPROCESSOR, read_record(folder / PREPROCESSOR, PixelValues)
    return None, PixelValues()


def _check_steps(values: PixelValues, fit: str, where: str) -> None:
    """Raise CheckpointError for a step that is left out or added, and for numbers that make no pixels."""
    needed = {
        "do_resize": values.do_resize,
        "do_rescale": values.do_rescale,
        "do_normalize": values.do_normalize,
        "do_center_crop": None if fit == "squash" else values.do_center_crop,
    }
    left_out = [name for name, value in needed.items() if value is False]
    if left_out:
        raise CheckpointError(f"{where} says {left_out[0]} false, which this model's preprocessing does not know")
    if values.do_pad and fit == "crop":
        raise CheckpointError(f"{where} pads images to a square (do_pad); add --image_aspect_ratio pad")
    if values.rescale_factor is not None and abs(values.rescale_factor * 255 - 1) > 1e-6:
        raise CheckpointError(f"{where} says rescale_factor {values.rescale_factor:g}; 1/255 is expected")
    if values.image_std is not None and not all(value > 0 for value in values.image_std):
        raise CheckpointError(f"{where} says image_std {values.image_std}; numbers above 0 are expected")


def _side(value: int | Mapping[str, int | None] | None, key: str, default: int, where: str) -> tuple[int, bool]:
    """A size that older files give as a number and newer ones as a mapping, and whether it is of both sides.

    Raises CheckpointError for a mapping without it, or sides that differ.
    """
    if not isinstance(value, Mapping):
        return (default if value is None else value), False
    side, both = value.get(key), (value.get("height"), value.get("width"))
    if side is None and both[0] is not None and both[0] == both[1]:
        return both[0], True
    if side is None or (both[1] is not None and side != both[1]):
        raise CheckpointError(f"{where}: no square of pixels follows from {shown(dict(value))}")
    return side, False
