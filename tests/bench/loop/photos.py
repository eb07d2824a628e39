"""What the loop's benchmark works on: JPEG files like photos, and captions of real models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from common.files.records import CaptionObjects, ObjectMention
from tests.data_folder import real_data

SIZE = (640, 480)
QUALITY = 90
OBJECTS = (
    "person", "dog", "table", "car", "chair", "bottle", "umbrella", "bus", "tree", "plate",
    "handbag", "clock", "bench", "cup", "laptop", "truck", "horse", "boat", "kite", "pizza",
)  # fmt: skip
OBJECTS_A_CAPTION = 8


def write_photos(folder: Path, count: int, distinct: int = 64) -> list[str]:
    """`count` JPEG files of 640x480, `distinct` different ones under several names, and those names.

    A photo's coarse shapes with fine grain: about 100 kB, so that decoding one costs what a photo's does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:012d}.jpg" for i in range(1, count + 1)]
    for i, name in enumerate(names):
        path = folder / name
        if path.exists():
            continue
        if i < distinct:
            _photo(i).save(path, quality=QUALITY)
        else:
            os.link(folder / names[i % distinct], path)
    return names


def _photo(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    layers = [
        Image.fromarray(random.integers(0, 255, (side * 3, side * 4, 3), dtype=np.uint8)).resize(SIZE, 3)
        for side in (4, 20, 100)
    ]
    coarse, middle, fine = (np.asarray(layer, dtype=np.float32) for layer in layers)
    return Image.fromarray((0.6 * coarse + 0.3 * middle + 0.1 * fine).clip(0, 255).astype(np.uint8))


def records(names: list[str]) -> list[CaptionObjects]:
    """A caption with eight objects for each image."""
    found = []
    for i, name in enumerate(names):
        words = [OBJECTS[(i + 3 * k) % len(OBJECTS)] for k in range(OBJECTS_A_CAPTION)]
        mentions, at = [], 0
        for word in words:
            mentions.append(ObjectMention(word, at, at + len(word)))
            at += len(word) + 1
        found.append(CaptionObjects(name, int(name.split(".")[0]), " ".join(words), tuple(mentions)))
    return found


def real_captions(count: int, file: Path | None = None) -> list[str]:
    """Captions that LLaVA-1.5 wrote about real photos, from the test data; again from the start where they end.

    Args:
        file: JSON Lines with `caption`; None: of the test data.
    """
    file = file or real_data() / "chair" / "captions" / "opera" / "llava-1.5.greedy.jsonl"
    texts = [str(json.loads(line)["caption"]) for line in file.read_text(encoding="utf-8").splitlines()]
    return (texts * -(-count // len(texts)))[:count]
