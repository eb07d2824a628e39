"""Reading yes or no out of an answer. One function a published rule; None means that the answer is neither.

Which rule a benchmark's original code uses is in the table of `evaluate/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

YesNo = Literal["yes", "no"]
Parser = Callable[[str], YesNo | None]

_WORD = re.compile(r"[a-z']+")


def pope_official(answer: str) -> YesNo:
    """POPE's and LLaVA's rule: up to the first full stop, commas dropped; "No", "not" or "no" as a word means no.

    Everything else is yes, the empty answer and upper-case "NO" included.
    """
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def strict(answer: str) -> YesNo | None:
    """Punctuation and case aside, the word yes without no, or no without yes; otherwise neither (VLMEvalKit)."""
    words = set(_WORD.findall(answer.lower()))
    if ("yes" in words) == ("no" in words):
        return None
    return "yes" if "yes" in words else "no"


def lmms_exact(answer: str) -> YesNo | None:
    """The stripped lower-case answer is exactly yes or no; "Yes." is neither (lmms-eval's POPE)."""
    return _exact(answer.strip().lower())


def mme_official(answer: str) -> YesNo | None:
    """MME's rule: lower-case; exactly yes or no, else the first four characters hold "yes", else "no"."""
    text = answer.lower()
    start = text[:4]
    return _exact(text) or ("yes" if "yes" in start else "no" if "no" in start else None)


def mme_lmms(answer: str) -> YesNo | None:
    """As :func:`mme_official` after stripping and dropping full stops, and the single letters y and n count."""
    text = answer.lower().strip().replace(".", "")
    letters: dict[str, YesNo] = {"y": "yes", "n": "no"}
    return letters.get(text) or mme_official(text)


def exactly_capitalised(answer: str) -> YesNo | None:
    """AMBER's rule: the answer equals "Yes" or "No"."""
    return _exact(answer.lower()) if answer in ("Yes", "No") else None


def _exact(text: str) -> YesNo | None:
    return "yes" if text == "yes" else "no" if text == "no" else None


POPE_PARSERS: Mapping[str, Parser] = {"official": pope_official, "strict": strict, "lmms": lmms_exact}
MME_PARSERS: Mapping[str, Parser] = {"official": mme_official, "lmms": mme_lmms}
