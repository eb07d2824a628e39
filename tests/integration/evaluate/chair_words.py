"""Where the object words stand that a CHAIR result lists for a caption."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.files.storage import read_text
from common.paths import DATASET

IRREGULAR = {"man": "men", "woman": "women", "child": "children", "mouse": "mice", "goose": "geese", "calf": "calves"}


def _forms(name: str) -> Iterator[str]:
    """Singular and plural of an entry of the synonym list."""
    rest, _, last = name.rpartition(" ")
    plurals = [last, last + "s", last + "es", IRREGULAR.get(last, last)]
    if last.endswith("y"):
        plurals.append(last[:-1] + "ies")
    if last.endswith("fe"):
        plurals.append(last[:-2] + "ves")
    if last.endswith("man"):
        plurals.append(last[:-3] + "men")
    for plural in plurals:
        yield f"{rest} {plural}".strip()


def word_patterns(synonyms: Path = DATASET / "synonyms.txt") -> dict[str, re.Pattern[str]]:
    """For each COCO object a pattern of all its names, the longest first."""
    patterns = {}
    for line in read_text(synonyms).lower().splitlines():
        names = [" ".join(name.split()) for name in line.split(",") if name.strip()]
        forms = sorted({form for name in names for form in _forms(name)}, key=lambda form: (-len(form), form))
        joined = "|".join(re.escape(form).replace(r"\ ", r"\s+") for form in forms)
        patterns[names[0]] = re.compile(rf"\b(?:{joined})\b", re.IGNORECASE)
    return patterns


def locate(caption: str, objects: Sequence[str], patterns: Mapping[str, re.Pattern[str]]) -> list[re.Match[str] | None]:
    """The place of each listed object, each after the one before; None where no name is found there."""
    places, at = [], 0
    for name in objects:
        match = patterns[name].search(caption, at)
        at = match.end() if match else at
        places.append(match)
    return places
