"""ScienceQA as LLaVA scores it: the letter of the choice, read by three rules in order, else wrong."""

from __future__ import annotations

import re

VERSION = "scienceqa-2"
LETTERS = "ABCDE"
_STATED = re.compile(r"The answer is ([A-Z]).")  # the full stop is LLaVA's: it stands for any character


def letter(answer: str) -> str | None:
    """The answer is a letter; or starts with "X. "; or holds "The answer is X" and one more character exactly once.

    As in LLaVA's eval_science_qa.py, so "The answer is B, because ..." is B, and "The answer is B" at the end is none.
    """
    if answer in tuple(LETTERS):
        return answer
    if len(answer) >= 3 and answer[0] in LETTERS and answer[1:3] == ". ":
        return answer[0]
    stated = _STATED.findall(answer)
    return stated[0] if len(stated) == 1 else None


def choice(answer: str, choices: int) -> int | None:
    """Number (from 0) of the choice named, None if none is or the question has fewer choices."""
    found = letter(answer)
    index = LETTERS.find(found) if found else -1
    return index if 0 <= index < choices else None


def lmms_choice(answer: str, choices: int) -> int | None:
    """lmms-eval's rules: without "The answer is X.", and "A." needs no space after it."""
    if answer in tuple(LETTERS) or (len(answer) >= 2 and answer[0] in LETTERS and answer[1] == "."):
        index = LETTERS.find(answer[0])
        return index if index < choices else None
    return None


PARSERS = {"llava": choice, "lmms": lmms_choice}
