"""The objects of each image, CHAIR's ground truth: from COCO annotations or from a file of image id -> names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from common.files.coco import CocoAnnotations
from common.files.storage import read_json
from common.paths import display
from evaluate.chair.parser import ChairParser

Gold = dict[int, frozenset[str]]
_LISTED = 10  # image ids that an error message names


def gold_from_annotations(annotations: CocoAnnotations, parser: ChairParser, image_ids: Iterable[int]) -> Gold:
    """Image id -> categories of its instances and objects that its reference captions name; known images only."""
    known = set(annotations.image_ids())
    gold: Gold = {}
    for image_id in set(image_ids) & known:
        found = set(annotations.instances.get(image_id, ()))
        for caption in annotations.captions.get(image_id, ()):
            found.update(mention.node for mention in parser.objects(caption))
        gold[image_id] = frozenset(found)
    return gold


def read_gold_file(path: Path | str) -> Gold:
    """Image id -> objects from a JSON object. Raises DataError naming the entry that does not fit."""
    value = read_json(path)
    if not isinstance(value, Mapping) or not value:
        raise DataError(f"{display(path)} (from --gold_objects_path): expected a JSON object 'image id': [names]")
    gold: Gold = {}
    for key, names in value.items():
        if not str(key).isdigit() or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError(f"{display(path)}: entry '{key}': expected an image id with a list of object names")
        gold[int(key)] = frozenset(names)
    return gold


def missing_images(image_ids: Sequence[int], gold: Gold, allow_missing: bool, source: str) -> list[int]:
    """Ids without ground truth, sorted. Raises DataError that lists them, unless they are allowed and some remain."""
    missing = sorted(set(image_ids) - set(gold))
    if missing and not allow_missing:
        listed = ", ".join(map(str, missing[:_LISTED])) + (" ..." if len(missing) > _LISTED else "")
        raise DataError(
            f"{len(missing)} captioned images have no ground truth in {source}: {listed}; "
            "add their annotations or leave them out with --allow_missing"
        )
    if len(missing) == len(set(image_ids)):
        raise DataError(f"none of the {len(missing)} captioned images has ground truth in {source}")
    return missing
