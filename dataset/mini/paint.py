"""From a layout to pixels: background in two tones with clutter and noise, then the sprites."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from dataset.mini.layout import IMAGE_SIZE, Box, Layout
from dataset.mini.scenes import RGB, Scene
from dataset.mini.sprites import sprite


def paint(layout: Layout, rng: np.random.Generator) -> tuple[Image.Image, Layout]:
    """Draw the scene; the returned layout has the boxes of the sprites as drawn."""
    image = _background(layout.scene, rng)
    drawn = []
    for instance in layout.instances:
        picture = sprite(instance.look.emoji, instance.box.width, rng)
        left = round(min(max(0, instance.box.left), IMAGE_SIZE - picture.width))
        top = round(min(max(0, instance.box.top), IMAGE_SIZE - picture.height))
        image.paste(picture, (left, top), picture)
        drawn.append(replace(instance, box=Box(left, top, picture.width, picture.height)))
    return _noise(image, rng), replace(layout, instances=tuple(drawn))


def _jitter(colour: RGB, spread: int, rng: np.random.Generator) -> RGB:
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return red, green, blue


def _background(scene: Scene, rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), _jitter(scene.upper, 14, rng))
    draw = ImageDraw.Draw(image)
    horizon = int(IMAGE_SIZE * rng.uniform(0.35, 0.6))
    tilt = int(rng.integers(-8, 9))
    ground = [(0, horizon), (IMAGE_SIZE, horizon + tilt), (IMAGE_SIZE, IMAGE_SIZE), (0, IMAGE_SIZE)]
    draw.polygon(ground, fill=_jitter(scene.lower, 14, rng))
    for _ in range(int(rng.integers(4, 12))):
        _clutter(draw, scene, horizon, rng)
    return image


def _clutter(draw: ImageDraw.ImageDraw, scene: Scene, horizon: int, rng: np.random.Generator) -> None:
    """A patch in a slightly different tone, to make the ground less plain."""
    x, y = (int(v) for v in rng.integers(-10, IMAGE_SIZE, size=2))
    width, height = (int(v) for v in rng.integers(4, 34, size=2))
    colour = _jitter(scene.upper if y < horizon else scene.lower, 26, rng)
    box = (x, y, x + width, y + height)
    if rng.random() < 0.5:
        draw.rectangle(box, fill=colour)
    else:
        draw.ellipse(box, fill=colour)


def _noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.int16)  # [height, width, 3]
    noise = rng.integers(-8, 9, size=(IMAGE_SIZE, IMAGE_SIZE, 1), dtype=np.int16)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
