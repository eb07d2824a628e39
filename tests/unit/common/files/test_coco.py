"""COCO annotations that contradict themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from common.files.coco import read_annotations
from common.files.storage import write_json


def coco(folder: Path, name: str, number: int, image: str) -> None:
    """A file of one image with a dog."""
    value: dict[str, Any] = {
        "images": [{"id": number, "file_name": image}],
        "annotations": [{"image_id": number, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    write_json(folder / name, value)


def test_one_id_of_two_images_is_refused(tmp_path: Path) -> None:
    """What both show would be the truth of either: annotations of two data sets in one folder, say."""
    coco(tmp_path, "a.json", 1, "street.jpg")
    coco(tmp_path, "b.json", 1, "kitchen.jpg")
    with pytest.raises(DataError, match=r"b\.json: image 1 is called 'kitchen\.jpg' here and 'street\.jpg' before"):
        read_annotations(tmp_path)


@pytest.mark.parametrize("other", ["000000000042.jpg", "val2014/COCO_val2014_000000000042.png", "42"])
def test_one_image_may_have_two_names(tmp_path: Path, other: str) -> None:
    """As COCO's of 2014 and 2017, or a file without names."""
    coco(tmp_path, "a.json", 42, "COCO_val2014_000000000042.jpg")
    coco(tmp_path, "b.json", 42, other)
    assert read_annotations(tmp_path).instances[42] == ["dog", "dog"]
