"""Whether two texts are the same question, and two names the same image, however a tool wrapped or renamed them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

from common.files.image_ids import plain_number

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".txt")  # MME's published results say .txt
# What evaluation tools put behind a question; never part of one.
INSTRUCTIONS = (
    "answer the question using a single word or phrase.",
    "answer with the option's letter from the given choices directly.",
    "please answer yes or no.",
    "please answer with yes or no.",
    "please answer the question with yes or no.",
    "please select the correct answer from the options above.",
    "your response must be concise.",
)
_MISSPELT = "imange"  # LLaVA's copy of POPE: "in the imange"


@lru_cache(1 << 16)
def normal(text: str) -> str:
    """The question's words: case, white space, image marks, appended instructions and a known misspelling aside.

    Nothing where no word is left.
    """
    plain = " ".join(text.replace("<image>", " ").casefold().split()).replace(_MISSPELT, "image")
    for instruction in INSTRUCTIONS:
        plain = plain.replace(instruction, " ")
    return " ".join(plain.split()) if re.search(r"\w", plain) else ""


def readings(text: str) -> Iterator[str]:
    """What a prompt may ask, normalised: the whole of it, or one of its lines."""
    yield normal(text)
    if "\n" in text.strip():
        yield from dict.fromkeys(filter(None, map(normal, text.split("\n"))))


def contains(text: str, part: str) -> bool:
    """Whether `part` stands in `text` as whole words; both normalised."""
    if not part or part not in text:  # nearly always, and thousands of times faster than the search
        return False
    return part == text or re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


@lru_cache(1 << 16)
def image_name(image: str) -> str:
    """The name that identifies an image in its folder: without folders and the ending of a picture."""
    name = PurePosixPath(image.replace("\\", "/")).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


@lru_cache(1 << 16)
def image_folder(image: str) -> str:
    """The folder that an image path names last ("code_reasoning/0020.png": code_reasoning), or nothing."""
    return PurePosixPath(image.replace("\\", "/")).parent.name


def same_image(one: str, other: str) -> bool:
    """Whether two names mean one image; a bare number means the image whose name ends in it."""
    first, second = image_name(one), image_name(other)
    if first == second:
        return True
    if first.isdecimal() != second.isdecimal():
        number, name = (first, second) if first.isdecimal() else (second, first)
        found = re.search(r"(?<!\d)0*(\d+)$", name)
        return found is not None and _same_number(found[1], number)
    return _same_number(first, second)


def _same_number(one: str, other: str) -> bool:
    first, second = plain_number(one.lstrip("0") or one[:1]), plain_number(other.lstrip("0") or other[:1])
    return first is not None and first == second


def label_key(text: str) -> str:
    """A label's words: case, white space and a final full stop aside."""
    return text.strip().removesuffix(".").casefold()
