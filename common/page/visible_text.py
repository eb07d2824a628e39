"""Text of any origin made fit for a page: cut into runs where marks begin and end, and nothing in it hidden.

What escapes HTML is Jinja2's work. Here control characters become the symbols that Unicode has for them, and marks that
turn the direction of the text around them are spelled out, so that a file name cannot pass for another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONGEST = 4_000  # characters of one text on a page
SCROLLS = 900  # characters above which a text has a box that scrolls
TURNING = frozenset((0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_KEPT = frozenset("\n\t")


@dataclass(frozen=True)
class Mark:
    """A stretch `text[start:end]` that is to stand out.

    Attributes:
        kind: name of a style class.
        said: what it means, for screen readers and on hovering; empty: nothing.
    """

    start: int
    end: int
    kind: str
    said: str = ""


@dataclass(frozen=True)
class Run:
    """A stretch of text under the same marks, outermost first."""

    text: str
    marks: tuple[Mark, ...] = ()

    @property
    def kinds(self) -> str:
        """Style classes."""
        return " ".join(dict.fromkeys(mark.kind for mark in self.marks))

    @property
    def said(self) -> str:
        """What all its marks mean."""
        return "; ".join(dict.fromkeys(mark.said for mark in self.marks if mark.said))


@dataclass(frozen=True)
class MarkedText:
    """Runs that make up a text, and how many characters are left out at its end."""

    runs: tuple[Run, ...]
    left_out: int = 0

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to see."""
        return not any(run.text.strip() for run in self.runs)

    @property
    def is_long(self) -> bool:
        """Whether it is shown in a box of its own that scrolls."""
        return sum(len(run.text) for run in self.runs) > SCROLLS

    @classmethod
    def of(cls, text: str, marks: Iterable[Mark] = (), longest: int = LONGEST) -> MarkedText:
        """The text cut wherever a mark begins or ends; marks may overlap. Raises ValueError for one outside it."""
        marks = tuple(marks)
        if any(not 0 <= mark.start < mark.end <= len(text) for mark in marks):
            raise ValueError("a mark is empty or outside its text")
        end = min(len(text), longest)
        events = {place for mark in marks for place in (mark.start, mark.end) if 0 < place < end}
        cuts = sorted({0, end} | events) if end else [0]
        pieces = itertools.pairwise(cuts)
        return cls(tuple(_runs(text, pieces, marks)), len(text) - end)


def _runs(text: str, pieces: Iterable[tuple[int, int]], marks: Sequence[Mark]) -> Iterable[Run]:
    """A run for each piece; one sweep, as marks may be many."""
    waiting = sorted(marks, key=lambda mark: (mark.start, -mark.end), reverse=True)
    open_marks: list[Mark] = []
    for start, end in pieces:
        open_marks = [mark for mark in open_marks if mark.end > start]
        while waiting and waiting[-1].start <= start:
            open_marks.append(waiting.pop())
        yield Run(text[start:end], tuple(open_marks))


def visible(text: str) -> str:
    """The text with controls as their symbols and turning marks as ⟨U+202E⟩; all other scripts and emoji stay."""
    if text.isprintable():  # no controls, no formats: nearly every text
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if character in _KEPT:
        return character
    if code < 0x20 or code == 0x7F:
        return chr(0x2421 if code == 0x7F else 0x2400 + code)
    if code in TURNING:
        return f"⟨U+{code:04X}⟩"
    return "\ufffd" if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 else character
