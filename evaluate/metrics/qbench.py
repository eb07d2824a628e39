"""Q-Bench A1 (LLVisionQA): plain accuracy. The choice is read from the answer by rule; nothing is ever guessed.

In order: a letter in brackets, an answer that is a letter, a letter with a full stop or bracket at the start, the text
of exactly one choice. The letter must be that of a choice. Otherwise the answer is unparseable and wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

VERSION = "qbench-1"
LETTERS = "ABCD"
_BRACKETED = re.compile(r"\(([A-D])\)")
_LEADING = re.compile(r"([A-D])(?:[.:)](?=\s|$))")


def choice(answer: str, candidates: Sequence[str]) -> int | None:
    """Number (from 0) of the choice named, or None."""
    text = answer.strip()
    bracketed = set(_BRACKETED.findall(text))
    leading = _LEADING.match(text)
    if len(bracketed) == 1:
        found = bracketed.pop()
    elif len(text) == 1:
        found = text
    elif leading:
        found = leading.group(1)
    else:
        return _by_content(text, candidates)
    index = LETTERS.find(found)
    return index if 0 <= index < len(candidates) else None


def _by_content(text: str, candidates: Sequence[str]) -> int | None:
    """The one choice whose text is the answer, case and a final full stop aside."""
    plain = text.removesuffix(".").strip().lower()
    same = [i for i, candidate in enumerate(candidates) if candidate.removesuffix(".").strip().lower() == plain]
    return same[0] if len(same) == 1 else None
