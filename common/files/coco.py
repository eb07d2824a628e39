"""Reading folders of COCO annotations: instances and captions of several files taken together.

pycocotools is not used: its index wants an id of every annotation, which results and hand-made files lack, keeps one
file's annotations by id although several files number alike, and prints. What is needed of it is two groupings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.image_ids import KnownImages, may_be_one
from common.files.json_text import as_record
from common.files.storage import read_json
from common.paths import display


@dataclass
class CocoAnnotations:
    """What the annotation files of a folder say, by image id.

    Attributes:
        file_names: image id -> file name.
        instances: image id -> category name of each instance, in file order.
        captions: image id -> reference captions, in file order.
        with_instances: ids of the images that a file of instances lists, those without any instance included.
        with_captions: the same of captions.
        known: the images by name.
    """

    file_names: dict[int, str] = field(default_factory=dict)
    instances: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    captions: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    with_instances: set[int] = field(default_factory=set)
    with_captions: set[int] = field(default_factory=set)
    known: KnownImages = field(default_factory=KnownImages)

    def image_ids(self) -> list[int]:
        """All ids that any file knows, sorted."""
        return sorted(set(self.file_names) | set(self.instances) | set(self.captions))


@dataclass
class _Image:
    id: int
    file_name: str | None = None


@dataclass
class _Category:
    id: int
    name: str


@dataclass
class _Annotation:
    image_id: int
    category_id: int | None = None
    caption: str | None = None


@dataclass
class _File:
    """The fields of a COCO file that are used; ids are whole numbers, names are text."""

    annotations: list[_Annotation]
    images: list[_Image] = field(default_factory=list)
    categories: list[_Category] = field(default_factory=list)


def annotation_files(folder: Path | str, flag: str = "--annotation_path") -> list[Path]:
    """The `.json` files of an annotation folder (or the one file given), sorted. Raises DataError if none.

    Hidden files, macOS's `._` companions among them, are none.
    """
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []
    if not files:
        raise DataError(f"no COCO annotation files (*.json) at {display(folder)} (from {flag})")
    return files


def read_annotations(folder: Path | str, flag: str = "--annotation_path") -> CocoAnnotations:
    """Read every COCO file of a folder. Files of other content, and of keypoints, are passed over.

    Raises DataError: no file, or a file whose entries lack the fields of COCO or have them of another type.
    """
    found = CocoAnnotations(known=KnownImages(f"{display(folder)} (from {flag})"))
    for path in annotation_files(folder, flag):
        value = read_json(path)
        if isinstance(value, Mapping) and "annotations" in value and not _only_persons(value):
            _add_file(found, as_record(value, _File, display(path)), display(path))
    if not found.with_instances and not found.with_captions:
        raise DataError(f"{display(folder)} (from {flag}) holds neither COCO instances nor COCO captions")
    return found


def _only_persons(value: Mapping[str, Any]) -> bool:
    """Whether a file is of COCO's keypoints, which repeat the persons of the instances and no other object."""
    entries = value["annotations"]
    return isinstance(entries, list) and bool(entries) and isinstance(entries[0], Mapping) and "keypoints" in entries[0]


def _add_file(found: CocoAnnotations, file: _File, where: str) -> None:
    for image in file.images:
        if image.file_name:
            _require_same_image(found.file_names.get(image.id), image, where)
            found.file_names[image.id] = image.file_name
            found.known.add(image.file_name, image.id)
        else:
            found.file_names.setdefault(image.id, str(image.id))
    names = _category_names(file, where)
    listed = {image.id for image in file.images}
    for number, entry in enumerate(file.annotations, start=1):
        if entry.caption is not None:
            found.captions[entry.image_id].append(entry.caption)
            found.with_captions.add(entry.image_id)
        elif entry.category_id is not None:
            if entry.category_id not in names:
                raise DataError(f"{where}: annotation {number}: no category with id {entry.category_id} in the file")
            found.instances[entry.image_id].append(names[entry.category_id])
            found.with_instances.add(entry.image_id)
        else:
            raise DataError(f"{where}: annotation {number}: expected a category_id or a caption")
    captions = any(entry.caption is not None for entry in file.annotations)
    if file.categories:
        found.with_instances |= listed
    if captions:
        found.with_captions |= listed


def _require_same_image(before: str | None, image: _Image, where: str) -> None:
    """Raise DataError for an id that another image has: what both show would be the truth of either."""
    if before is None or before == str(image.id) or image.file_name is None:
        return
    if not may_be_one(before, image.file_name):
        raise DataError(
            f"{where}: image {image.id} is called '{image.file_name}' here and '{before}' before; give each image an "
            "id of its own"
        )


def _category_names(file: _File, where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for category in file.categories:
        if names.setdefault(category.id, category.name) != category.name:
            raise DataError(
                f"{where}: category {category.id} is called '{names[category.id]}' and '{category.name}'; keep one"
            )
    return names
