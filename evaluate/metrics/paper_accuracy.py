"""EFUF's accuracies for GQA, ScienceQA and Q-Bench, only to reproduce its tables: substring matches.

They credit "snow" for gold "no", and "The Answer is B" for gold "A". Never compare them with the benchmarks' own.
"""

from __future__ import annotations

from collections.abc import Sequence

GQA_NOTE = "EFUF's GQA: the gold answer anywhere in the response ('no' in 'snow' counts); not GQA's accuracy"
CHOICE_NOTE = "EFUF's choice rule: the gold letter anywhere in the response ('A' in 'The Answer is B' counts)"
CONTENT_NOTE = CHOICE_NOTE + ", or the gold choice's text up to its first '. '"


def gqa_substring(answer: str, gold: str) -> bool:
    """Whether the gold answer stands anywhere in the response, case aside."""
    return gold.lower() in answer.lower()


def letter_substring(answer: str, gold: int, choices: Sequence[str], content: bool = False) -> bool:
    """Whether the gold letter stands anywhere in the response; with `content`, its text (cut at ". ") counts too."""
    if "ABCDE"[gold] in answer:
        return True
    return content and choices[gold].split(". ")[0].lower() in answer.lower()
