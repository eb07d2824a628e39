"""Finding and opening images: by name inside a folder, always as RGB, with losses counted and bounded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from common.errors import DataError
from common.files.pixels import named, open_rgb, rgb_size
from common.files.storage import require_dir
from common.paths import display

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TOLERATED_LOSS = 0.01  # of all images; more is an error


def image_names(folder: Path) -> list[str]:
    """Names of the image files in a folder, sorted. macOS's `._` companions, which hold no picture, are none."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if _is_image_name(e.name) and e.is_file())


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


@dataclass
class ImageFolder:
    """The images of a folder, found by file name. Unreadable ones are remembered in `lost`.

    Args:
        path: the folder.
        flag: the flag it came from, for messages.
        turn: follow the EXIF orientation.
        reduced: what is kept of an opened image; a model's `reduced` keeps no more pixels than it looks at, so that a
            batch of large photos needs no memory to speak of.
        admitted: absolute paths of images in another folder that was checked by its own `ImageFolder`.
    """

    path: Path
    flag: str = "--image_dir_path"
    turn: bool = True
    reduced: Callable[[Image.Image], Image.Image] = _as_it_is
    lost: dict[str, str] = field(default_factory=dict)
    opened: int = 0
    admitted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.path = require_dir(self.path, self.flag)

    def names(self) -> list[str]:
        """Names of all images in the folder, sorted. Raises DataError if there is none."""
        names = image_names(self.path)
        if not names:
            raise DataError(
                f"no images in {display(self.path)} (from {self.flag}); known endings: {' '.join(SUFFIXES)}"
            )
        unwritable = [name for name in names if any("\ud800" <= c <= "\udfff" for c in name)]
        if unwritable:
            raise DataError(
                f"image {unwritable[0]!r} in {display(self.path)} (from {self.flag}) has no UTF-8 name, which "
                f"results cannot hold; rename it ({len(unwritable)} such in all)"
            )
        return names

    def file(self, name: str) -> Path:
        """Where an image that data name lies. The one place where names become paths.

        Raises DataError for a name that leaves the folder: absolute, with `..`, or none at all.
        """
        if name in self.admitted:
            return Path(name)
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise DataError(
                f"image {name!r} is outside the folder {display(self.path)} (from {self.flag}); give its name inside it"
            )
        return self.path / name

    def require(self, names: Iterable[str]) -> None:
        """Raise DataError, naming the first, if any of the images is not in the folder."""
        missing = [name for name in dict.fromkeys(names) if not os.path.isfile(self.file(name))]  # noqa: PTH113
        if missing:
            raise DataError(
                f"image {missing[0]} is not in {display(self.path)} (from {self.flag}); {len(missing)} missing in all"
            )

    def read(self, name: str) -> Image.Image:
        """The image as RGB, with its name, and nothing remembered. Raises DataError if it cannot be decoded."""
        return named(self.reduced(open_rgb(self.file(name), self.turn)), name)

    def size(self, name: str) -> tuple[int, int]:
        """Width and height of what :meth:`read` gives, from the file's header. Raises DataError as it does."""
        size = rgb_size(self.file(name), self.turn)
        small = size if self.reduced is _as_it_is else self.reduced(Image.new("1", size)).size
        return (small[0], small[1])

    def open(self, name: str) -> Image.Image | None:
        """The image as RGB; None, and remembered in `lost`, if it cannot be decoded or has no pixels.

        Raises DataError for a name that leads out of the folder.
        """
        self.opened += 1
        self.file(name)
        try:
            return self.read(name)
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
