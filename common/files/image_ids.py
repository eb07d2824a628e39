"""The number that stands for an image, from its name: one rule, for every step.

1. Where annotations (or a gold file with names) are given, their file name decides: :class:`KnownImages`.
2. Otherwise the digits at the end of the name, if they are the only number in it: since the last separator nothing or
   letters alone come before them, and no part before that is a number. COCO_val2014_000000000042.jpg is 42, n161313.jpg
   is 161313, 7.png is 7.
3. Any other name (0a1249aff2bcf901.png, 2007_000027.jpg, cat.png, a number too large) gets a number above 2^52 made of
   its SHA-256, the same on every machine and in every folder.

Records carry both, name and number, so later steps take the number from them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from common.errors import DataError

_LONGEST = 15  # digits of a number that is surely below 2^52
_LONGEST_STATED = 18  # digits of a number that is stated as one and fits into 64 bits
HASHED_FROM = 1 << 52  # ids made of names lie from here to 2^53, where JSON's numbers are still exact
_PARTS = re.compile(r"[^0-9A-Za-z]+")
_COCO = re.compile(r"COCO_[a-z]+[0-9]{4}_0*([0-9]+)")
_STATED = re.compile(r"[A-Za-z]*([0-9]+)")


def base_name(name: str) -> str:
    """The file name at the end of a path, as one spelling of its letters (macOS stores accents apart)."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).name)


def stem(name: str) -> str:
    """The file name without its ending."""
    return PurePosixPath(base_name(name)).stem


def hashed_id(name: str) -> int:
    """The number made of a name (rule 3); folders before it do not count."""
    digest = hashlib.sha256(base_name(name).encode("utf-8", "surrogatepass")).digest()
    return HASHED_FROM + int.from_bytes(digest[:8], "big") % HASHED_FROM


def image_id_of(name: str) -> int:
    """The number of one image by rules 2 and 3."""
    *before, last = _PARTS.split(stem(name))
    stated = _STATED.fullmatch(last)
    if stated is None or any(part.isdecimal() for part in before) or len(stated[1]) > _LONGEST:
        return hashed_id(name)
    return int(stated[1])


def image_ids_of(names: Iterable[str]) -> dict[str, int]:
    """The numbers of images that are looked at together. Raises DataError if two names have one number."""
    ids = {name: image_id_of(name) for name in names}
    owners: dict[int, str] = {}
    for name, number in ids.items():
        if owners.setdefault(number, name) != name:
            raise DataError(f"images {owners[number]} and {name} have the same id {number}; rename one")
    return ids


def plain_number(text: str) -> int | None:
    """The whole number that a text is; None for any other text, and for digits that no id has and Python may refuse."""
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_STATED else None


def may_be_one(first: str, second: str) -> bool:
    """Whether two names may be one image with one number: COCO itself calls one otherwise in 2014 and in 2017."""
    return stem(first) == stem(second) or image_id_of(first) == image_id_of(second)


@dataclass
class KnownImages:
    """Names and numbers of images as data state them (rule 1).

    Attributes:
        where: whose they are, for messages.
        names: number -> one file name of it.
        pairs: every name with its number, as stated.
    """

    where: str = "the annotations"
    names: dict[int, str] = field(default_factory=dict)
    pairs: set[tuple[str, int]] = field(default_factory=set)
    _ids: dict[str, set[int]] = field(default_factory=dict)

    def add(self, name: str, number: int) -> None:
        """Note one image; it is found by its whole name, its file name, and that without the ending."""
        self.names.setdefault(number, name)
        self.pairs.add((name, number))
        for spelling in {name, base_name(name), stem(name)}:
            self._ids.setdefault(spelling, set()).add(number)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, int]], where: str) -> KnownImages:
        """From names with their numbers."""
        known = cls(where)
        for name, number in pairs:
            known.add(name, number)
        return known

    def number(self, name: str) -> int | None:
        """The number stated for a name, None where the name is unknown. Raises DataError where several are."""
        for spelling in (name, base_name(name), stem(name)):
            found = self._ids.get(spelling)
            if found:
                if len(found) > 1:
                    numbers = ", ".join(map(str, sorted(found)[:3]))
                    raise DataError(
                        f"image {name} has several ids in {self.where}: {numbers}; give it a name of its own"
                    )
                return next(iter(found))
        return None

    def resolve(self, image: str, number: int) -> int:
        """The number of a record's image: that of its name where the name is known, else its own.

        Args:
            image: name in the record; a bare number where it has none.
            number: id in the record, stated there or made of the name.

        Raises DataError where name and number are those of two images; the names of COCO's own files state a number.
        """
        if base_name(image) == str(number):
            return number
        made = {image_id_of(image), hashed_id(image)}
        stated = self.number(image)
        if stated is not None:
            if number != stated and number not in made:
                raise DataError(
                    f"image {image} has id {number} in its record, but {stated} in {self.where}; remove one"
                )
            return stated
        coco = _COCO.fullmatch(stem(image))
        if coco and int(coco[1]) != number:
            raise DataError(f"image {image} has id {number} in its record, which its name contradicts; remove one")
        other = self.names.get(number)
        if other is None or image_id_of(other) == number:
            return number
        if number in made:
            raise DataError(f"image {image}: its number {number} is that of {other} in {self.where}, where it is not")
        return number
