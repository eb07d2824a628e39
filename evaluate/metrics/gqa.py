"""GQA: the answer equals the gold answer. No credit for substrings ("no" in "snow"), no articles removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

VERSION = "gqa-2"
_PUNCTUATION = re.compile(r"[^\w\s]")


def llava(answer: str) -> str:
    """LLaVA's normalisation (convert_gqa_for_eval.py): all trailing full stops go, case goes."""
    return answer.rstrip(".").lower()


def lmms(answer: str) -> str:
    """lmms-eval's exact match: case and punctuation go."""
    return _PUNCTUATION.sub("", answer.lower()).strip()


NORMALISERS: Mapping[str, Callable[[str], str]] = {"llava": llava, "lmms": lmms}


def is_right(answer: str, gold: str, normalise: Callable[[str], str] = llava) -> bool:
    """Whether the normalised answer equals the gold answer, normalised alike."""
    return normalise(answer) == normalise(gold)


def question_kind(structural: str) -> str:
    """`open` for query questions, `binary` for verify, logical, choose and compare (GQA's own split)."""
    return "open" if structural == "query" else "binary"
