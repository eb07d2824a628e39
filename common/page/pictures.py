"""Pictures for a page: reduced, as data in the file, all of them within a budget; what is missing is counted."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType

from PIL import Image

from common.errors import DataError
from common.files.images import ImageFolder

BUDGET = 8_000_000  # bytes of all pictures of a page before they become text, which adds a third
STEPS = ((320, 74), (288, 62), (224, 54), (160, 46), (112, 38), (80, 30))  # longest side in pixels, WebP quality
SMALLEST = STEPS[-1]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of its file.
        uri: the picture itself as a `data:` address; empty if there is none.
        width, height: pixels of what is shown.
        why: why there is none.
    """

    name: str
    uri: str = ""
    width: int = 0
    height: int = 0
    why: str = ""


@dataclass
class Album:
    """The pictures of one page by name.

    Attributes:
        lost: name -> why it is not there; each has a placeholder on the page.
        bytes: of all pictures that are shown.
    """

    pictures: dict[str, Picture] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def __getitem__(self, name: str) -> Picture:
        return self.pictures.get(name) or Picture(name, why=self.lost.get(name, "no folder of images was given"))


def make_album(
    names: Iterable[str],
    folder: ImageFolder | None,
    budget: int = BUDGET,
    files: Mapping[str, str] = MappingProxyType({}),
) -> Album:
    """Read and reduce the images; one that is not there, or cannot be read, is noted in `lost`.

    Args:
        folder: where they lie; None: every picture is a placeholder, and none counts as lost.
        budget: bytes of all pictures; each may have its share of what is left.
        files: name -> its file in the folder, where that is called otherwise.
    """
    album = Album()
    waiting = list(dict.fromkeys(names))
    for number, name in enumerate(waiting if folder is not None else ()):
        try:
            image = _opened(folder, files.get(name, name))  # type: ignore[arg-type]
        except DataError as error:
            album.lost[name] = str(error)
            continue
        shown, data = reduced(image, (budget - album.bytes) // (len(waiting) - number))
        album.bytes += len(data)
        uri = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        album.pictures[name] = Picture(name, uri, shown.width, shown.height)
    return album


def _opened(folder: ImageFolder, name: str) -> Image.Image:
    """Raises DataError: not there, not readable, or a name that leads out of the folder."""
    if not folder.file(name).is_file():
        raise DataError("not in the folder of images")
    return folder.read(name)


def reduced(image: Image.Image, most: int) -> tuple[Image.Image, bytes]:
    """The image and its bytes as WebP at the best of the steps that takes at most so many; the smallest at any rate."""
    for side, quality in STEPS:
        shown = image.copy()
        shown.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        buffer = BytesIO()
        shown.save(buffer, "WEBP", quality=quality, method=3)
        if buffer.tell() <= most or (side, quality) == SMALLEST:
            break
    return shown, buffer.getvalue()


def lost_line(lost: Mapping[str, str], of: int) -> str:
    """How many pictures are missing and why the first is; empty if none is."""
    if not lost:
        return ""
    name, why = next(iter(lost.items()))
    return f"{len(lost)} of {of} pictures are missing and shown as placeholders; the first is {name}: {why}"
