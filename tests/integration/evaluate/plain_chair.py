"""CHAIR's word lookup by hand, for captions in plain words: a second way to count, with nothing of the first in it."""

from __future__ import annotations

import re
from functools import cache

from common.paths import DATASET

SILENT = {"men", "vases", "smartphones"}  # plurals that the original code does not resolve


@cache
def _objects() -> dict[str, str]:
    """Name -> category, with regular plurals and those of this language that are not."""
    names = {}
    for line in (DATASET / "synonyms.txt").read_text(encoding="utf-8").splitlines():
        category, *others = (part.strip() for part in line.split(","))
        for name in (category, *others):
            ending = re.sub(r"y$", "ie", name) if re.search(r"[^aeiou]y$", name) else name
            plurals = (f"{name}s", f"{name}es", f"{ending}s", re.sub("man$", "men", name), re.sub("fe$", "ves", name))
            names |= dict.fromkeys({name, *plurals} - SILENT, category)
    return names | {"mice": "mouse", "oxen": "cow"}


def plain_objects(caption: str) -> list[str]:
    """Categories of the object names in a caption, in order, names of two words before those of one."""
    words, found, i = re.findall(r"[a-z]+", caption.lower()), [], 0
    while i < len(words):
        two = " ".join(words[i : i + 2])
        name = _objects().get(two) if " " in two else None
        if name or words[i] in _objects():
            found.append(name or _objects()[words[i]])
        i += 2 if name else 1
    return found
