"""Text statistics of captions: corpus BLEU against all references, distinct n-grams.

BLEU is the corpus BLEU of Papineni et al. on lower-cased 13a tokens (sacrebleu's), no smoothing, all references of a
caption, closest reference length. Distinct-n is unique over total word n-grams of all captions together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from evaluate.metrics.stats import Array, Formula, Sums, Units, divide

MAX_ORDER = 4
BLEU_COLUMNS = (
    *(f"match_{n}" for n in range(1, MAX_ORDER + 1)),
    *(f"total_{n}" for n in range(1, MAX_ORDER + 1)),
    "length",
    "reference_length",
)


@cache
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def tokenize(text: str) -> list[str]:
    """Lower-case 13a tokens."""
    return str(_tokenizer()(text.lower())).split()


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram of one order occurs."""
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def bleu_counts(caption: str, references: Sequence[str]) -> tuple[int, ...]:
    """Clipped matches and totals of orders 1-4, length and closest reference length, ordered as BLEU_COLUMNS."""
    tokens = tokenize(caption)
    others = [tokenize(reference) for reference in references]
    matches, totals = [], []
    for order in range(1, MAX_ORDER + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for other in others:
            most |= ngrams(other, order)
        found = ngrams(tokens, order)
        matches.append((found & most).total())
        totals.append(found.total())
    closest = min((len(other) for other in others), key=lambda n: (abs(n - len(tokens)), n))
    return (*matches, *totals, len(tokens), closest)


def bleu_units(ids: Sequence[str], captions: Sequence[str], references: Sequence[Sequence[str]]) -> Units:
    """The counts of each caption; all zero for one without references, which then does not touch the score."""
    none = (0,) * len(BLEU_COLUMNS)
    rows = [bleu_counts(c, refs) if refs else none for c, refs in zip(captions, references, strict=True)]
    counts = np.array(rows, dtype=np.float64).reshape(len(rows), len(BLEU_COLUMNS))
    return Units(tuple(ids), BLEU_COLUMNS, counts)


def bleu(order: int) -> Formula:
    """Corpus BLEU up to n-grams of `order`, as a fraction; 0 if any order has no match."""

    def score(sums: Sums) -> Array:
        """The score from summed counts."""
        precisions = [divide(sums[f"match_{n}"], sums[f"total_{n}"]) for n in range(1, order + 1)]
        with np.errstate(divide="ignore"):
            log_mean = np.mean([np.log(p) for p in precisions], axis=0)
        shortfall = 1 - divide(sums["reference_length"], np.maximum(sums["length"], 1))
        return np.asarray(np.exp(np.minimum(shortfall, 0) + log_mean))

    return score


BLEU: Mapping[str, Formula] = {f"bleu_{order}": bleu(order) for order in (1, 2, 4)}


def distinct(captions: Sequence[str], order: int) -> float:
    """Unique over total word n-grams of all captions together; 0 if there are none."""
    found: Counter[tuple[str, ...]] = Counter()
    for caption in captions:
        found.update(ngrams(tokenize(caption), order))
    return len(found) / found.total() if found else 0.0
