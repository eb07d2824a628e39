"""Finding and opening images: by name in a folder, always as RGB, with losses counted and bounded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from common.errors import DataError
from common.files.storage import require_dir
from common.paths import display

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TOLERATED_LOSS = 0.01  # of all images; more is an error


@dataclass
class ImageFolder:
    """The images of a folder, found by file name. Unreadable ones are remembered in `lost`.

    Args:
        path: the folder.
        flag: the flag it came from, for messages.
    """

    path: Path
    flag: str = "--image_dir_path"
    lost: dict[str, str] = field(default_factory=dict)
    opened: int = 0

    def __post_init__(self) -> None:
        self.path = require_dir(self.path, self.flag)

    def names(self) -> list[str]:
        """Names of all images in the folder, sorted. Raises DataError if there is none."""
        names = sorted(p.name for p in self.path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not names:
            raise DataError(
                f"no images in {display(self.path)} (from {self.flag}); known endings: {' '.join(SUFFIXES)}"
            )
        return names

    def require(self, names: Iterable[str]) -> None:
        """Raise DataError, naming the first, if any of the images is not in the folder."""
        missing = [name for name in dict.fromkeys(names) if not (self.path / name).is_file()]
        if missing:
            raise DataError(
                f"image {missing[0]} is not in {display(self.path)} (from {self.flag}); {len(missing)} missing in all"
            )

    def open(self, name: str) -> Image.Image | None:
        """The image as RGB; None, and remembered in `lost`, if it cannot be decoded or has no pixels."""
        self.opened += 1
        try:
            return open_rgb(self.path / name)
        except DataError as error:
            self.lost[name] = str(error)
            return None

    def open_all(self, names: Iterable[str]) -> list[Image.Image]:
        """Images that could be read before. Raises DataError for one that no longer can."""
        opened = []
        for name in names:
            image = self.open(name)
            if image is None:
                raise DataError(f"{self.lost[name]}; it could be read before")
            opened.append(image)
        return opened

    def check_losses(self, total: int | None = None) -> None:
        """Raise DataError if more than 1 % of the images (`total`, or all opened) could not be read."""
        total = total or self.opened
        if len(self.lost) > TOLERATED_LOSS * total:
            name, why = next(iter(self.lost.items()))
            raise DataError(
                f"{len(self.lost)} of {total} images in {display(self.path)} cannot be read "
                f"(more than 1 %); the first is {name}: {why}"
            )


def open_rgb(path: Path) -> Image.Image:
    """Decode one image to RGB; transparency is laid on white. Raises DataError if it cannot be decoded."""
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("ignore")
            file.load()
            image: Image.Image = file
            if image.mode in ("RGBA", "LA", "P") and (image.mode != "P" or "transparency" in image.info):
                rgba = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
            rgb = image.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot decode {display(path)}: {error}") from None
    if 0 in rgb.size:
        raise DataError(f"{display(path)} has a side of zero pixels")
    return rgb
