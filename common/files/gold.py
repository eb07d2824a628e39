"""What is really in each image, the ground truth of CHAIR and of the detector's judgement: read here and nowhere else.

It comes from COCO annotations, instances and human captions together, or from a file of object names. Names of
categories and objects go through the synonym list; a name that the list does not know is refused. Images are known by
the file names that the data state (:mod:`common.files.image_ids`). How captions are read for objects is the caller's:
CHAIR's parser in `evaluate/`, head words in `insight/`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.errors import DataError
from common.files.coco import CocoAnnotations, read_annotations
from common.files.image_ids import KnownImages, image_ids_of, plain_number
from common.files.storage import read_json, require_file
from common.paths import display

Gold = Mapping[int, frozenset[str]]
_LISTED = 10  # image ids that a message names


class Namer(Protocol):
    """Which COCO object a name or a text speaks of."""

    def node_named(self, name: str) -> str | None:
        """The object that a name of the list stands for; None for a name that the list does not know."""

    def nodes_in(self, text: str) -> Iterable[str]:
        """The objects that a text names."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of images.

    Attributes:
        objects: image id -> objects in the image.
        references: image id -> human captions.
        known: the images by name.
        lacking: what half of the truth is missing ("captions", "instances") -> ids of the images.
        source: where it was read, for messages.
    """

    objects: Gold = field(default_factory=dict)
    references: Mapping[int, Sequence[str]] = field(default_factory=dict)
    known: KnownImages = field(default_factory=KnownImages)
    lacking: Mapping[str, frozenset[int]] = field(default_factory=dict)
    source: str = ""

    def half(self, image_ids: Collection[int], allowed: bool) -> dict[str, int]:
        """How many of these images lack captions, and instances. Raises DataError if any does, unless `allowed`."""
        wanted = set(image_ids)
        found = {what: sorted(wanted & ids) for what, ids in self.lacking.items() if wanted & ids}
        for what, ids in found.items():
            if not allowed:
                other = "instances" if what == "captions" else "captions"
                raise DataError(
                    f"{len(ids)} of {len(wanted)} images have {other} but no {what} in {self.source}, first {ids[0]}: "
                    f"half of the truth makes true objects hallucinated; add {what}_*.json, or --allow_partial_truth"
                )
        return {what: len(ids) for what, ids in found.items()}


def truth_from_annotations(folder: Path | str, namer: Namer, image_ids: Iterable[int] | None = None) -> Truth:
    """Objects of instances and reference captions. Raises DataError: no COCO file, or a category of no known name."""
    return truth_of(read_annotations(folder), namer, f"{display(folder)} (from --annotation_path)", image_ids)


def truth_of(annotations: CocoAnnotations, namer: Namer, where: str, image_ids: Iterable[int] | None = None) -> Truth:
    """Objects of all images that the annotations know, or of some. Raises DataError for an unknown category."""
    known = annotations.image_ids()
    wanted = known if image_ids is None else sorted(set(image_ids) & set(known))
    names = _nodes_of({n for i in wanted for n in annotations.instances.get(i, ())}, namer, f"{where}: category")
    objects = {
        image: frozenset(names[name] for name in annotations.instances.get(image, ()))
        | frozenset(node for caption in annotations.captions.get(image, ()) for node in namer.nodes_in(caption))
        for image in wanted
    }
    return Truth(objects, annotations.captions, annotations.known, lacking_half(annotations), where)


def lacking_half(annotations: CocoAnnotations) -> dict[str, frozenset[int]]:
    """Images of which only instances, or only captions, are there.

    An image that a file of instances lists without any has no objects, as some of COCO's; a caption every image has.
    """
    instances = annotations.with_instances
    captions = annotations.with_captions - {i for i in annotations.instances if not annotations.captions.get(i)}
    return {"captions": frozenset(instances - captions), "instances": frozenset(captions - instances)}


def truth_from_file(path: Path | str, namer: Namer, annotated: KnownImages | None = None) -> Truth:
    """JSON: image id or file name -> list of object names. Raises DataError naming the entry.

    Args:
        annotated: images by name as annotations state them, where there are any.
    """
    path = require_file(path, "--gold_objects_path")
    where = f"{display(path)} (from --gold_objects_path)"
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{where}: expected a JSON object 'image id or file name': [object names]")
    for key, names in value.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{where}: entry '{key}': expected a list of object names")
    known = annotated or KnownImages(where)
    numbers = _numbers(value, known)
    gold: dict[int, frozenset[str]] = {}
    for key, names in value.items():
        nodes = _nodes_of(names, namer, f"{where}: entry '{key}':")
        if numbers[key] in gold:
            raise DataError(f"{where}: entry '{key}': image {numbers[key]} stands there twice; keep one")
        gold[numbers[key]] = frozenset(nodes.values())
    return Truth(gold, known=known, source=where)


def _numbers(keys: Iterable[str], known: KnownImages) -> dict[str, int]:
    """The number of each key: itself, that which annotations state for the name, or that made of the name."""
    keys = list(keys)
    stated = {key: number for key in keys if (number := plain_number(key)) is not None}
    names = [key for key in keys if key not in stated]
    named = {key: number for key in names if (number := known.number(key)) is not None}
    made = image_ids_of(key for key in names if key not in named)
    for name, number in made.items():
        known.add(name, number)
    return {**made, **named, **stated}


def _nodes_of(names: Iterable[str], namer: Namer, where: str) -> dict[str, str]:
    """Name -> object. Raises DataError for the first name that the list does not know."""
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        node = namer.node_named(name)
        if node is None:
            raise DataError(f"{where} '{name}' is no name of the synonym list; correct it, or give --synonyms_path")
        found[name] = node
    return found


def read_truth(
    annotations: Path | str | None,
    gold_file: Path | str | None,
    namer: Namer,
    image_ids: Iterable[int] | None = None,
) -> Truth:
    """Ground truth from whichever source was given, the file first; empty if none was. Raises DataError."""
    if gold_file is not None:
        return truth_from_file(gold_file, namer)
    return Truth() if annotations is None else truth_from_annotations(annotations, namer, image_ids)


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
