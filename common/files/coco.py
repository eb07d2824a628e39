"""Reading folders of COCO annotations: instances and captions of several files taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json
from common.paths import display


@dataclass
class CocoAnnotations:
    """What the annotation files of a folder say, by image id.

    Attributes:
        file_names: image id -> file name.
        instances: image id -> category name of each instance, in file order.
        captions: image id -> reference captions, in file order.
    """

    file_names: dict[int, str] = field(default_factory=dict)
    instances: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    captions: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def image_ids(self) -> list[int]:
        """All ids that any file knows, sorted."""
        return sorted(set(self.file_names) | set(self.instances) | set(self.captions))


def annotation_files(folder: Path | str, flag: str = "--annotation_path") -> list[Path]:
    """The `.json` files of an annotation folder (or the one file given), sorted. Raises DataError if none."""
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise DataError(f"no COCO annotation files (*.json) at {display(folder)} (from {flag})")
    return files


def read_annotations(folder: Path | str, flag: str = "--annotation_path") -> CocoAnnotations:
    """Read every COCO file of a folder. Files with neither `images` nor `annotations` are passed over.

    Raises DataError: no file, or a file whose entries lack the fields of COCO.
    """
    found = CocoAnnotations()
    for path in annotation_files(folder, flag):
        value = read_json(path)
        if isinstance(value, Mapping) and "annotations" in value:
            _add_file(found, value, path)
    if not found.instances and not found.captions:
        raise DataError(f"{display(folder)} (from {flag}) holds neither COCO instances nor COCO captions")
    return found


def _add_file(found: CocoAnnotations, value: Mapping[str, Any], path: Path) -> None:
    try:
        for image in value.get("images", ()):
            found.file_names[int(image["id"])] = str(image.get("file_name", image["id"]))
        names = {int(c["id"]): str(c["name"]) for c in value.get("categories", ())}
        _add_annotations(found, value["annotations"], names)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{display(path)}: not in COCO format ({type(error).__name__}: {error})") from None


def _add_annotations(found: CocoAnnotations, entries: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> None:
    for entry in entries:
        if "caption" in entry:
            found.captions[int(entry["image_id"])].append(str(entry["caption"]))
        elif "category_id" in entry:
            found.instances[int(entry["image_id"])].append(names[int(entry["category_id"])])
