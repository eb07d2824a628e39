"""EFUF's own scores, only to reproduce its tables; never compare them with the benchmarks' own.

Accuracies of GQA, ScienceQA and Q-Bench are substring matches: they credit "snow" for gold "no", and "The Answer is B"
for gold "A". Text scores count characters, and BLEU sees the last reference alone: BLEU there is NLTK's sentence BLEU
with smoothing 7 over the characters of caption and reference, averaged; distinct is the mean number of different
characters, and of different character pairs divided by two. Unrelated sentences reach a BLEU-1 of 0.9.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

GQA_NOTE = "EFUF's GQA: the gold answer anywhere in the response ('no' in 'snow' counts); not GQA's accuracy"
CHOICE_NOTE = "EFUF's choice rule: the gold letter anywhere in the response ('A' in 'The Answer is B' counts)"
CONTENT_NOTE = CHOICE_NOTE + ", or the gold choice's text up to its first '. '"
TEXT_NOTE = (
    "paper_* are EFUF's text scores: characters instead of words, the last reference only, smoothing 7; "
    "they are not BLEU and distinct as others report them"
)
WEIGHTS = {
    "paper_bleu_1": (1.0, 0.0, 0.0, 0.0),
    "paper_bleu_2": (0.5, 0.5, 0.0, 0.0),
    "paper_bleu_4": (0.25, 0.25, 0.25, 0.25),
}


def gqa_substring(answer: str, gold: str) -> bool:
    """Whether the gold answer stands anywhere in the response, case aside."""
    return gold.lower() in answer.lower()


def letter_substring(answer: str, gold: int, choices: Sequence[str], content: bool = False) -> bool:
    """Whether the gold letter stands anywhere in the response; with `content`, its text (cut at ". ") counts too."""
    if "ABCDE"[gold] in answer:
        return True
    return content and choices[gold].split(". ")[0].lower() in answer.lower()


def character_bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean sentence BLEU over characters against each caption's last reference; empty if none has one."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    pairs = [(caption, refs[-1]) for caption, refs in zip(captions, references, strict=True) if refs]
    if not pairs:
        return {}
    smoothing = SmoothingFunction().method7
    totals = dict.fromkeys(WEIGHTS, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for caption, reference in pairs:
            for name, weights in WEIGHTS.items():
                totals[name] += sentence_bleu([list(reference)], list(caption), weights, smoothing)
    return {name: total / len(pairs) for name, total in totals.items()}


def character_distinct(captions: Sequence[str]) -> dict[str, float]:
    """Mean number of different characters, and half the mean number of different character pairs."""
    n = max(1, len(captions))
    one = sum(len(set(text)) for text in captions) / n
    two = sum(len(set(pairwise(text))) / 2 for text in captions) / n
    return {"paper_distinct_1": one, "paper_distinct_2": two}
