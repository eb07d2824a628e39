"""Opening images that were readable when training began."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from common.errors import DataError
from common.images import ImageFolder


def open_all(images: ImageFolder, names: Sequence[str]) -> list[Image]:
    """The images as RGB. Raises DataError for one that can no longer be read."""
    opened = []
    for name in names:
        image = images.open(name)
        if image is None:
            raise DataError(f"{images.lost[name]}; it could be read when training began")
        opened.append(image)
    return opened
