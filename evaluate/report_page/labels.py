"""Scores by truth, where the scored images have some: how well the scorer tells what is there from what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.files.coco import annotation_files
from common.files.gold import read_truth
from common.files.records import CaptionObjects
from common.files.vocabulary import ObjectVocabulary, read_vocabulary
from common.progress import announce
from evaluate.report_page.sources import Sources, noted_arguments

LARGEST = 20_000_000  # bytes of annotations that are read for this; all of COCO would take minutes


@dataclass
class Labelled:
    """Scores of objects that are in their picture, and of those that are not."""

    present: list[float] = field(default_factory=list)
    hallucinated: list[float] = field(default_factory=list)


def label(files: Sequence[tuple[Path, Sequence[CaptionObjects]]], sources: Sources) -> Labelled:
    """Of all scored objects whose truth is known by what the manifest of their scores names. Raises DataError."""
    found = Labelled()
    for path, records in files:
        noted = noted_arguments(path)
        annotations, gold = (sources.find(noted.get(name)) for name in ("annotation_path", "gold_objects_path"))
        if annotations is None and gold is None:
            continue
        if gold is None and sum(file.stat().st_size for file in annotation_files(annotations or "")) > LARGEST:
            announce(f"{annotations} is large and not read: the scores of {path.name} are shown without their truth")
            continue
        vocabulary = read_vocabulary(*filter(None, [sources.find(noted.get("synonyms_path"))]))
        _add(found, records, annotations, gold, vocabulary)
    return found


def _add(
    found: Labelled,
    records: Sequence[CaptionObjects],
    annotations: Path | None,
    gold: Path | None,
    vocabulary: ObjectVocabulary,
) -> None:
    truth = read_truth(annotations, gold, vocabulary)
    for record in records:
        there = truth.objects.get(truth.known.resolve(record.image, record.image_id))
        for mention in record.objects if there is not None else ():
            node = vocabulary.node(mention.text)
            if node is not None and mention.score is not None:
                (found.present if node in there else found.hallucinated).append(mention.score)  # type: ignore[operator]
