"""One image file or image to RGB with 8 bits a channel: depth scaled by what the file states, never clipped or guessed.

Pillow's own `convert("RGB")` clips 16 bits to white and floats to black, forgets what is transparent, and leaves a
picture as its camera was held. Here 16-bit grey is scaled, transparency is laid on white, an EXIF orientation is
followed, and what no file states (the range of 32-bit integers and of floats) is refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from common.errors import DataError, first_line
from common.paths import display

# Raised whenever the pixels of some file change: what was made of them before is made anew.
PIXELS_VERSION = 2
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no other reader of Pillow's sees a file (EPS runs programs)
MOST_PIXELS = 178_956_970  # Pillow's own limit, which other packages switch off
KEY_SCALES = {"L;2": 85, "L;4": 17}  # PNG: grey of few bits is scaled when it is read, its transparent grey is not
WHITE_IS_ZERO, PHOTOMETRIC, BITS = 0, 262, 258  # TIFF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = 5  # orientations from here on exchange width and height
NAME: Any = ("name",)  # in what an image says of itself; a file has no such key


def open_rgb(path: Path, turn: bool = True) -> Image.Image:
    """Decode one image file to RGB.

    Args:
        turn: follow its EXIF orientation. Without, it stays as it lies (TIFFs are turned by Pillow itself).

    Raises DataError if it cannot be decoded, is larger than 179 million pixels, or has no pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rgb = _decoded(path, turn)
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise DataError(f"cannot decode {display(path)}: {first_line(error)}") from None
    if 0 in rgb.size:
        raise DataError(f"{display(path)} has a side of zero pixels")
    return rgb


def rgb_size(path: Path, turn: bool = True) -> tuple[int, int]:
    """Width and height of what :func:`open_rgb` gives, from the header alone. Raises DataError if it has none."""
    try:
        with Image.open(path, formats=FORMATS) as file:
            upright = file.format == "TIFF" or not turn or _orientation(file) < SIDEWAYS
            return (file.width, file.height) if upright else (file.height, file.width)
    except Exception as error:  # as above
        raise DataError(f"cannot read {display(path)}: {first_line(error)}") from None


def _decoded(path: Path, turn: bool) -> Image.Image:
    with Image.open(path, formats=FORMATS) as file:
        if file.width * file.height > MOST_PIXELS:
            raise DataError(f"{file.width}x{file.height} pixels are more than {MOST_PIXELS:,}")
        _scale_key(file)
        file.load()
        rgb = to_rgb(file)
        return rgb.transpose(TURNS[way]) if turn and (way := _orientation(file)) in TURNS else rgb


def _scale_key(file: Any) -> None:
    """Bring a PNG's transparent colour to the depth that its pixels get. Raises DataError where that loses it."""
    key, tiles = file.info.get("transparency"), file.tile
    if file.format != "PNG" or key is None or not tiles:
        return
    kind = tiles[0][3]
    if kind == "RGB;16B":
        raise DataError("16 bits a channel with a transparent colour cannot be told apart in 8 bits")
    if isinstance(key, int):
        file.info["transparency"] = (255 if key else 0) if kind == "1" else key * KEY_SCALES.get(kind, 1)


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where there is none or the block is broken, as viewers show it."""
    try:
        way = file.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as for the pixels
        return 1
    return way if isinstance(way, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as RGB with 8 bits a channel, transparency on white, without metadata but :func:`named`'s.

    Raises DataError for 32-bit integers and floats, whose range no file states.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow 10: PNG as "I"
        return _from_deep_grey(image)
    if image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "integers of 32 bits, or with a sign"
        raise DataError(f"its pixels are {kind}, whose range it does not state; save it with 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (image.mode == "P" and _palette_has_alpha(image)):
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return _bare(Image.alpha_composite(white, rgba).convert("RGB"))
    key = image.info.get("transparency") if image.mode in ("1", "L", "RGB") else None
    return _bare(image.convert("RGB")) if key is None else _without_key(image, key)


def _bare(image: Image.Image) -> Image.Image:
    return named(image, name_of(image))


def named(image: Image.Image, name: str) -> Image.Image:
    """The image, which says the name of its file, if anything, and nothing else of itself."""
    image.info = {NAME: name} if name else {}
    return image


def name_of(image: Image.Image) -> str:
    """The name of an image's file; "" if it does not say one."""
    name: str = image.info.get(NAME, "")
    return name


def _palette_has_alpha(image: Image.Image) -> bool:
    return "transparency" in image.info or (image.palette is not None and image.palette.mode.endswith("A"))


def _without_key(image: Image.Image, key: Any) -> Image.Image:
    """Pixels of the one transparent colour become white."""
    plain = image.copy()
    plain.info = {}
    pixels = np.array(plain.convert("RGB"))
    pixels[(pixels == np.asarray(key)).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of up to 16 bits, scaled from the file's depth to 8 bits and rounded."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(BITS, 16)
    most = (1 << (bits[0] if isinstance(bits, tuple) else bits)) - 1
    values = np.asarray(image).astype(np.uint32)
    grey = ((values * 255 + most // 2) // most).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    key = image.info.get("transparency")
    if key is not None:
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")
