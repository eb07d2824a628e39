"""Reading the list of objects that a language model wrote, strictly: only what stands in the caption counts.

An item becomes mentions wherever it stands in the caption as whole words; what the model made up is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from common.files.records import ObjectMention
from common.objects.special_tokens import blanked

# Items end at commas, semicolons, line ends, brackets and colons, but not within a number ("1,000", "10:30").
SEPARATOR = re.compile(r"[;\n()\[\]]|,(?!\d)|:(?=\s|\Z)")
NUMBERING = re.compile(r"^[ \t]*(?:\d{1,2}[.)]|[-*•])[ \t]+", re.MULTILINE)
ARTICLES = re.compile(
    r"\A(?:and|a|an|the|some|one|two|three|four|five|six|seven|eight|nine|ten|several)\s+", re.IGNORECASE
)
MARKS = " \t.\"'`*“”"


def parse_object_list(answer: str) -> list[str]:
    """Items of a comma or line list, in order, each once (any case), without empty ones, numbering and articles."""
    items = (_clean(part) for part in SEPARATOR.split(NUMBERING.sub("", blanked(answer))))
    return list({item.lower(): item for item in reversed(list(items)) if item}.values())[::-1]


def _clean(part: str) -> str:
    item = part.strip(MARKS)
    while (shorter := ARTICLES.sub("", item)) != item:
        item = shorter
    return item if any(letter.isalnum() for letter in item) else ""


def locate_all(caption: str, items: Iterable[str]) -> tuple[ObjectMention, ...]:
    """Every place where an item stands in the caption as whole words, any case, in order of appearance.

    Where two items overlap, the longer one stands: "traffic light" rather than "light".
    """
    text = blanked(caption, "\0")
    found: list[ObjectMention] = []
    for item in sorted(items, key=len, reverse=True):
        found += [m for m in _places(text, item) if not any(_overlap(m, other) for other in found)]
    return tuple(sorted(found, key=lambda mention: mention.start))


def _places(caption: str, item: str) -> Iterator[ObjectMention]:
    words = r"\s+".join(re.escape(word) for word in item.split())
    for match in re.finditer(rf"(?<!\w){words}(?!\w)", caption, flags=re.IGNORECASE):
        yield ObjectMention(match.group(), match.start(), match.end())


def _overlap(one: ObjectMention, other: ObjectMention) -> bool:
    return one.start < other.end and other.start < one.end
