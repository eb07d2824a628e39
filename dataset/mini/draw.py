"""Draw the mini world in COCO format: `python dataset/mini/draw.py [--seed 0]`.

Writes `train/` (to mine and unlearn on) and `eval/` (for judging only, from a random stream of its own) with images
and annotations (instances and five clean captions an image) under `dataset/mini/data/seed<seed>`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/../.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.storage import naming, read_json, write_json
from common.outputs.locks import exclusive
from common.outputs.whole import WholeTarget, taken
from common.paths import MINI_DATA, display
from common.progress import announce, bar
from dataset.mini.categories import CATEGORIES
from dataset.mini.describe import reference_captions
from dataset.mini.layout import IMAGE_SIZE, Layout, generator, make_layout
from dataset.mini.paint import paint

FIRST_ID = {"train": 1, "eval": 500_001, "tune": 800_001}


@dataclass
class DrawArguments:
    """How much of the mini world to draw."""

    seed: int = seed_flag("another seed is another world of the same kind")
    train_images: int = flag(900, "images to mine and unlearn on")
    eval_images: int = flag(300, "images to evaluate on")
    tune_images: int = flag(0, "images for choosing hyperparameters (never those of eval)")
    output_dir: str | None = flag(None, "folder; default dataset/mini/data/seed<seed>")


ARGUMENTS = (DrawArguments,)


def draw_split(folder: Path, split: str, seed: int, count: int) -> None:
    """Draw `count` images of one split with their annotations.

    The annotation files go first and come last: a split with both is complete. What a killed run left is drawn again.
    Raises DataError if annotations are there that were not drawn, InUseError, OSError.
    """
    images, annotations = folder / split / "images", folder / split / "annotations"
    files = [annotations / f"{kind}_{split}.json" for kind in ("captions", "instances")]
    with exclusive(folder / split), taken([WholeTarget(p, "output_dir", "dataset.mini.draw", _drawn) for p in files]):
        for file in reversed(files):
            file.unlink(missing_ok=True)
        images.mkdir(parents=True, exist_ok=True)
        with naming(images):
            names = _draw(images, annotations, split, seed, count)
        for path in images.glob(f"mini_{split}_{'[0-9]' * 12}.png"):
            if path.name not in names:
                path.unlink()  # of an earlier, larger drawing


def _draw(images: Path, annotations: Path, split: str, seed: int, count: int) -> set[str]:
    """Images and annotations; returns the images' names."""
    entries: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    for index in bar(range(count), f"drawing {split}", count, unit="img"):
        rng = generator(split, seed, index)
        picture, layout = paint(make_layout(rng), rng)
        image_id = FIRST_ID[split] + index
        name = f"mini_{split}_{image_id:012d}.png"
        picture.save(images / name)
        entries.append({"id": image_id, "file_name": name, "width": IMAGE_SIZE, "height": IMAGE_SIZE})
        instances += _instances(layout, image_id, len(instances))
        for text in reference_captions(layout, rng):
            captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": text})
    _write_annotations(annotations, split, entries, instances, captions)
    return {entry["file_name"] for entry in entries}


def _drawn(path: Path) -> None:
    """Raise DataError unless annotations are those of drawn images."""
    value = read_json(path)
    images = value.get("images") if isinstance(value, dict) else None
    names = [image.get("file_name") for image in images if isinstance(image, dict)] if isinstance(images, list) else []
    if not names or not all(str(name).startswith("mini_") for name in names):
        raise DataError("its images were not drawn here")


def _instances(layout: Layout, image_id: int, before: int) -> list[dict[str, Any]]:
    found = []
    for number, instance in enumerate(layout.instances, start=before + 1):
        box = instance.box
        found.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": instance.category.id,
                "bbox": [box.left, box.top, box.width, box.height],
                "area": box.width * box.height,
                "iscrowd": 0,
            }
        )
    return found


def _write_annotations(
    folder: Path,
    split: str,
    images: list[dict[str, Any]],
    instances: list[dict[str, Any]],
    captions: list[dict[str, Any]],
) -> None:
    categories = [{"id": c.id, "name": c.name} for c in CATEGORIES]
    write_json(folder / f"captions_{split}.json", {"images": images, "annotations": captions})
    write_json(
        folder / f"instances_{split}.json", {"images": images, "annotations": instances, "categories": categories}
    )


def main() -> None:
    """Draw the splits that are asked for. Raises ArgumentError for a negative number."""
    (args,) = parse(ARGUMENTS, __doc__ or "", step="draw")
    folder = Path(args.output_dir) if args.output_dir else MINI_DATA / f"seed{args.seed}"
    counts = {"train": args.train_images, "eval": args.eval_images, "tune": args.tune_images}
    for split, count in counts.items():
        if count < 0:
            raise ArgumentError(f"--{split}_images is {count}; give 0 or more")
    announce(f"drawing {sum(counts.values())} images into {display(folder)}, about 3 ms each")
    for split, count in counts.items():
        if count:
            draw_split(folder, split, args.seed, count)


if __name__ == "__main__":
    run(main)
