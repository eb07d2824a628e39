"""What is really in each image: from COCO annotations (instances and human captions) or from a file of object names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import DataError
from common.files.coco import read_annotations
from common.files.storage import read_json, require_file
from common.files.vocabulary import ObjectVocabulary
from common.paths import display

Gold = Mapping[int, frozenset[str]]


def gold_from_annotations(folder: Path | str, vocabulary: ObjectVocabulary) -> Gold:
    """Image id -> node words: instance categories and objects named in the reference captions, as CHAIR counts.

    Raises DataError: no COCO file there.
    """
    found = read_annotations(folder)
    return {
        image: frozenset(vocabulary.node(name) or name.lower() for name in found.instances.get(image, ()))
        | frozenset(node for caption in found.captions.get(image, ()) for node in vocabulary.nodes_in(caption))
        for image in found.image_ids()
    }


def gold_from_file(path: Path | str, vocabulary: ObjectVocabulary) -> Gold:
    """The same from JSON, image id -> list of object names (synonyms allowed). Raises DataError naming the entry."""
    path = require_file(path, "--gold_objects_path")
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(
            f"{display(path)} (from --gold_objects_path): expected a mapping of image ids to lists of names"
        )
    gold: dict[int, frozenset[str]] = {}
    for image, names in value.items():
        if not image.isdigit() or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError(f"{display(path)}: entry '{image}': expected an image number and a list of object names")
        gold[int(image)] = frozenset(vocabulary.node(name) or name.lower() for name in names)
    return gold


def read_gold(annotations: Path | str | None, gold_file: Path | str | None, vocabulary: ObjectVocabulary) -> Gold:
    """Gold objects from whichever source was given, the file first; empty if none was."""
    if gold_file is not None:
        return gold_from_file(gold_file, vocabulary)
    return gold_from_annotations(annotations, vocabulary) if annotations is not None else {}
