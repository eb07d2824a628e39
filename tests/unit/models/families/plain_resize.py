"""What Pillow's `resize` computed up to version 12, in plain numpy: width first, then height, in integers.

After `Resample.c`: each output pixel is a weighted mean around its centre, weights in 22 bits after the point, rounded
to whole grey levels after each pass.
"""

from __future__ import annotations

import math

import numpy as np

BITS = 22


def bilinear(x: float) -> float:
    """The filter of Pillow's number 2, support 1."""
    return max(0.0, 1.0 - abs(x))


def bicubic(x: float) -> float:
    """The filter of Pillow's number 3, support 2: Keys's with a = -0.5."""
    x, a = abs(x), -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def lanczos(x: float) -> float:
    """The filter of Pillow's number 1, support 3."""

    def sinc(t: float) -> float:
        return 1.0 if t == 0 else math.sin(t * math.pi) / (t * math.pi)

    return sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0


FILTERS = {1: (lanczos, 3.0), 2: (bilinear, 1.0), 3: (bicubic, 2.0)}


def weights(length: int, wanted: int, resample: int) -> np.ndarray:
    """[wanted, length] whole numbers: the share of each pixel of a side in each pixel of the resized side."""
    curve, support = FILTERS[resample]
    scale = length / wanted
    wide = max(scale, 1.0)
    table = np.zeros((wanted, length), np.int64)
    for i in range(wanted):
        centre = (i + 0.5) * scale
        first = max(0, int(centre - support * wide + 0.5))
        last = min(length, int(centre + support * wide + 0.5))
        row = [curve((x - centre + 0.5) * (1 / wide)) for x in range(first, last)]
        total = sum(row)
        table[i, first:last] = [int(math.copysign(0.5, w) + w / total * (1 << BITS)) for w in row]
    return table


def one_pass(pixels: np.ndarray, wanted: int, resample: int) -> np.ndarray:
    """Resize the first side of [length, other side, channels] uint8. Nothing happens where it has its length."""
    if len(pixels) == wanted:
        return pixels
    total = np.tensordot(weights(len(pixels), wanted, resample), pixels.astype(np.int64), axes=1)
    return np.clip((total + (1 << (BITS - 1))) >> BITS, 0, 255).astype(np.uint8)


def resize(pixels: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    """[height, width, 3] uint8 to `size`, width and height."""
    across = one_pass(pixels.swapaxes(0, 1), size[0], resample).swapaxes(0, 1)
    return one_pass(across, size[1], resample)
