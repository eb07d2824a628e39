"""Reading what the rule is applied to: captions whose objects all have a score."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from common.files.record_files import read_objects
from common.files.records import CaptionObjects
from common.paths import display


def read_scored(path: Path) -> list[CaptionObjects]:
    """Captions with objects, all of them scored.

    Raises DataError: malformed line, an object without a score, a caption twice.
    """
    records = read_objects(path)
    for record in records:
        for mention in record.objects:
            if mention.score is None:
                raise DataError(
                    f"{display(path)}: object '{mention.text}' of image {record.image} has no score; "
                    "run insight/clip.py on this file first"
                )
    return records
