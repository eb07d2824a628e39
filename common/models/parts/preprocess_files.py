"""How images become pixels, as the files of a model folder say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from common.errors import CheckpointError
from common.files.json_text import as_record, shown
from common.files.storage import read_record
from common.models.checkpoints.config_files import PixelValues, ProcessorValues
from common.models.parts.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing
from common.paths import display

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"


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
