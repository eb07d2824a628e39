"""Image files to RGB, against plain numpy: depth, transparency and orientation of files written by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import DataError
from common.files.pixels import MOST_PIXELS, open_rgb, to_rgb
from tests.unit.common.files import image_writers as write

CASES = Path(__file__).parent / "cases"
# What a viewer does to show the picture upright, from the EXIF standard: where row 0 and column 0 of the file belong.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
DEPTHS = {
    write.GREY: (1, 2, 4, 8, 16),
    write.COLOUR: (8, 16),
    write.PALETTE: (1, 2, 4, 8),
    write.GREY_ALPHA: (8, 16),
    write.COLOUR_ALPHA: (8, 16),
}
CHANNELS = {write.GREY: 1, write.COLOUR: 3, write.PALETTE: 1, write.GREY_ALPHA: 2, write.COLOUR_ALPHA: 4}


def opened(data: bytes, suffix: str = ".png", **options: Any) -> np.ndarray:
    """What `open_rgb` makes of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"1{suffix}"
        path.write_bytes(data)
        image = open_rgb(path, **options)
    assert image.mode == "RGB" and not image.info
    return np.asarray(image).astype(float)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[dict[str, Any], np.ndarray]:
    """Arguments of the PNG writer, and the right picture: [height, width, 3] in levels of 0 to 255."""
    kind = draw(st.sampled_from(sorted(DEPTHS)))
    bits = draw(st.sampled_from(DEPTHS[kind]))
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = dice.integers(0, 1 << bits, (height, width, CHANNELS[kind]))
    made: dict[str, Any] = {"pixels": pixels, "bits": bits, "kind": kind}
    alpha = np.ones((height, width, 1))
    if kind == write.PALETTE:
        made["palette"] = dice.integers(0, 256, (1 << bits, 3))
        right = made["palette"][pixels[..., 0]]
        if draw(st.booleans()):
            alphas = dice.choice([0, 90, 255], draw(st.integers(1, 1 << bits)))
            made["transparent"] = bytes(alphas.tolist())
            alpha = np.append(alphas, np.full((1 << bits) - len(alphas), 255))[pixels[..., :1]] / 255
    else:
        levels = pixels * 255 / ((1 << bits) - 1)
        right = np.broadcast_to(
            levels[..., :3] if kind in (write.COLOUR, write.COLOUR_ALPHA) else levels[..., :1], (height, width, 3)
        )
        if kind in (write.GREY_ALPHA, write.COLOUR_ALPHA):
            alpha = levels[..., -1:] / 255
        elif draw(st.booleans()) and (kind, bits) != (write.COLOUR, 16):
            key = pixels[dice.integers(height), dice.integers(width)]
            made["transparent"] = [int(value) for value in key]
            alpha = 1.0 - (pixels == key).all(axis=-1, keepdims=True)
    return made, right * alpha + 255 * (1 - alpha)


@settings(max_examples=200, deadline=None)
@given(picture=pictures(), way=st.sampled_from([None, *UPRIGHT]))
def test_any_png_gives_its_picture_scaled_on_white_and_upright(
    picture: tuple[dict[str, Any], np.ndarray], way: int | None
) -> None:
    made, right = picture
    data = write.png(**made, orientation=way)
    # Grey is exact. Pillow keeps the upper byte of 16-bit colour and alpha (one level each) and rounds where they mix.
    mixes = made["kind"] in (write.GREY_ALPHA, write.COLOUR_ALPHA, write.PALETTE)
    lost = (made["bits"] == 16) * (made["kind"] != write.GREY) * (1 + mixes)
    most = 0.5 + lost + (1e-6 if not mixes else 0.5)
    assert np.abs(opened(data) - UPRIGHT[way or 1](right)).max() <= most
    assert np.abs(opened(data, turn=False) - right).max() <= most


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), white_is_zero=st.booleans())
def test_grey_tiffs_of_16_bits(seed: int, white_is_zero: bool) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << 16, (5, 4), dtype=np.uint16)
    found = opened(write.tiff(values, 16, white_is_zero), ".tif")
    right = values / 257
    assert np.abs(found - (255 - right if white_is_zero else right)[..., None]).max() <= 0.5


@pytest.mark.parametrize(
    ("values", "bits", "sample", "what"),
    [
        (np.full((3, 3), 0.5, np.float32), 32, write.FLOAT, "floats"),
        (np.full((3, 3), 255, np.float32), 32, write.FLOAT, "floats"),
        (np.full((3, 3), 255, np.uint32), 32, write.INTEGER, "integers of 32 bits"),
        (np.full((3, 3), 65535, np.int32), 32, write.SIGNED, "integers of 32 bits"),
        (np.full((3, 3), -5, np.int16), 16, write.SIGNED, "integers of 32 bits, or with a sign"),
    ],
)
def test_a_range_that_no_one_states_is_not_guessed(values: np.ndarray, bits: int, sample: int, what: str) -> None:
    with pytest.raises(DataError, match=rf"1\.tif: its pixels are {what}"):
        opened(write.tiff(values, bits, sample=sample), ".tif")


def test_a_transparent_colour_of_16_bits_cannot_be_told_apart() -> None:
    with pytest.raises(DataError, match="16 bits a channel with a transparent colour"):
        opened(write.png(np.zeros((2, 2, 3), int), 16, write.COLOUR, [1, 2, 3]))


def test_the_same_pictures_with_8_and_16_bits() -> None:
    for name in ("1.png", "2.png", "3.png"):
        shallow, deep = (open_rgb(CASES / "deep_pixels" / kind / name) for kind in ("eight_bit", "sixteen_bit"))
        assert shallow.tobytes() == deep.tobytes()
    values = np.asarray(Image.open(CASES / "deep_pixels" / "gray16.tif")).astype(float)
    assert np.abs(np.asarray(open_rgb(CASES / "deep_pixels" / "gray16.tif")) - values[..., None] / 257).max() <= 0.5
    for name in ("float01.tif", "int32.tif"):
        with pytest.raises(DataError, match="whose range it does not state"):
            open_rgb(CASES / "deep_pixels" / name)


def test_pictures_turned_by_their_tag_are_the_upright_ones() -> None:
    for name in ("1.png", "2.png", "3.png"):
        upright = open_rgb(CASES / "exif" / "upright" / name)
        assert open_rgb(CASES / "exif" / "tagged" / name).tobytes() == upright.tobytes()
        assert open_rgb(CASES / "exif" / "tagged" / name, turn=False).tobytes() != upright.tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("way", [3, 6, 8])
def test_other_formats_are_turned_too(suffix: str, way: int) -> None:
    left = np.zeros((16, 32, 3), np.uint8)
    left[:8, :16] = 255
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = way
    kind = {".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}[suffix]
    more = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(left).save(buffer, kind, exif=exif, **more)
    found = opened(buffer.getvalue(), suffix)
    assert found.shape[:2] == ((16, 32) if way == 3 else (32, 16))
    assert np.abs(found - UPRIGHT[way](left)).max() <= 20  # JPEG loses some


@pytest.mark.parametrize(
    "block", [b"", b"II*\0\xff\xff\xff\xff" + b"x" * 18, b"nonsense", write.exif(9), write.exif(0)]
)
def test_a_broken_exif_block_turns_nothing(block: bytes) -> None:
    buffer = BytesIO()
    Image.new("RGB", (16, 8)).save(buffer, "JPEG", exif=b"Exif\0\0" + block)
    assert opened(buffer.getvalue(), ".jpg").shape == (8, 16, 3)


def test_only_the_formats_that_are_meant_are_tried(tmp_path: Path) -> None:
    """A page description named .jpg would start another program."""
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    buffer = BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PPM")
    for data in (page, buffer.getvalue()):
        (tmp_path / "1.jpg").write_bytes(data)
        with pytest.raises(DataError, match=r"cannot decode .*1\.jpg: cannot identify"):
            open_rgb(tmp_path / "1.jpg")


def test_bombs_are_unreadable_whatever_pillows_own_limit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    small = write.png(np.zeros((1, 1, 3), int), 8, write.COLOUR)
    side = int(MOST_PIXELS**0.5) + 1
    header = write._chunk(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    with pytest.raises(DataError, match=rf"{side}x{side} pixels are more than"):
        opened(small[:8] + header + small[8 + len(header) :])


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]))
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, kind: str) -> None:
    buffer = BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    picture.convert("P" if kind == "GIF" else "RGB").save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        assert opened(bytes(content[:cut]), ".png").ndim == 3
    except DataError as error:
        assert "\n" not in str(error) and len(str(error)) <= 400


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "PA", "La", "RGBa", "I;16"])
def test_images_in_memory(mode: str) -> None:
    made = Image.new("RGB", (3, 2), (255, 255, 255))
    if mode in ("La", "RGBa"):
        made = made.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    white = Image.fromarray(np.full((2, 3), 65535, np.uint16)) if mode == "I;16" else made.convert(mode)
    assert white.mode == mode
    found = to_rgb(white)
    assert found.mode == "RGB" and np.asarray(found).min() == 255
