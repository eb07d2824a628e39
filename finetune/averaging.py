"""What the loss of a kind is the mean of: its samples, each the mean of its tokens (as published), or all its tokens.

With the mean over samples a token of a short target weighs more than one of a long target, so wherever the model has
to choose between a short and a long way to go on, the short one is learnt faster and captions become shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from finetune.data import CaptionItem, Span
from finetune.sampling import StepSource


def mean_lengths(items: Iterable[CaptionItem]) -> dict[str, float]:
    """Mean number of tokens in the spans of each kind."""
    tokens: Counter[str] = Counter()
    spans: Counter[str] = Counter()
    for item in items:
        for span in item.spans:
            tokens[span.kind] += span.end - span.start
            spans[span.kind] += 1
    return {kind: tokens[kind] / number for kind, number in spans.items()}


def averaged_over_tokens(data: StepSource) -> StepSource:
    """Every span's weight times its length over the mean length of its kind: the sum of a kind's weights stays."""
    lengths = mean_lengths(data.items)

    def longer_weighs_more(span: Span) -> Span:
        return replace(span, weight=span.weight * (span.end - span.start) / lengths[span.kind])

    return data.mapped(longer_weighs_more)
