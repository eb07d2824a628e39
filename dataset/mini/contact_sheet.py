"""One picture of every scene type of the mini world in one sheet: `python dataset/mini/contact_sheet.py`.

Writes assets/mini_world.png from the first scenes of each type in the training images of seed 0.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/../.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.storage import whole_file
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.paths import ROOT, display
from dataset.mini.layout import IMAGE_SIZE, generator, make_layout
from dataset.mini.paint import paint
from dataset.mini.scenes import SCENES

GAP = 4  # pixels between two pictures
COLOURS = 160  # in the palette: a small file, and the noise still shows
MARK = "EFUF, dataset/mini/contact_sheet.py"  # in the file, so that it is known as ours


@dataclass
class SheetArguments:
    """The sheet of one world."""

    seed: int = seed_flag("world to show")
    columns: int = flag(8, "pictures in a row")
    output_path: str = flag(str(ROOT / "assets" / "mini_world.png"), "PNG file to write")


def one_of_each(seed: int) -> list[Image.Image]:
    """The first training picture of each scene type, in the order of the scene types."""
    found: dict[str, Image.Image] = {}
    for index in count():
        rng = generator("train", seed, index)
        layout = make_layout(rng)
        if layout.scene.name not in found:
            found[layout.scene.name] = paint(layout, rng)[0]
        if len(found) == len(SCENES):
            break
    return [found[scene.name] for scene in SCENES]


def sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """The pictures row by row on white. Raises ArgumentError for fewer columns than one."""
    if columns < 1:
        raise ArgumentError(f"--columns is {columns}; give a number from 1")
    rows, step = -(-len(pictures) // columns), IMAGE_SIZE + GAP
    canvas = Image.new("RGB", (columns * step - GAP, rows * step - GAP), "white")
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (number % columns * step, number // columns * step))
    return canvas


def recognise(path: Path) -> None:
    """Raise DataError unless a file is such a sheet."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            ours = image.info.get("Software") == MARK
    except (OSError, ValueError, SyntaxError):
        ours = False
    if not ours:
        raise DataError("no sheet of scenes")


def save(picture: Image.Image, path: Path) -> None:
    """Write the sheet at once. Raises OSError."""
    note = PngInfo()
    note.add_text("Software", MARK)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        picture.save(file, "PNG", optimize=True, pnginfo=note)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw and write the sheet. Raises DataError for a file that is none, ArgumentError, OSError."""
    (args,) = parse([SheetArguments], __doc__ or "", argv)
    path = Path(args.output_path)
    check_targets({"output_path": path})
    with taken([WholeTarget(path, "output_path", "dataset.mini.contact_sheet", recognise)]):
        picture = sheet(one_of_each(args.seed), args.columns).quantize(COLOURS, dither=Image.Dither.NONE)
        save(picture, path)
    print(f"{display(path)}: {picture.width}x{picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run(main)
