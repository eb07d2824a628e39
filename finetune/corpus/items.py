"""Training items: a caption's tokens once, with all its spans as token ranges.

A token belongs to the span that contains its last character, so the tokens are those the model itself would produce
for the running text, whatever the spans. A sentence sample, and a repaired caption, is
the whole caption with one end symbol.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from common.models.text.ids import CaptionIds, PromptIds
from finetune.corpus.records import WHOLE, CaptionItem, Encoder, Span, SpannedCaption, TextSpan


def token_range(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """Tokens whose last character lies in `start:end` (end exclusive); `offsets` in order."""
    last = [max(stop - 1, begin) for begin, stop in offsets]
    return bisect_left(last, start), bisect_left(last, end)


def encode_items(
    captions: Iterable[SpannedCaption], encoder: Encoder, prompt: PromptIds
) -> tuple[list[CaptionItem], int]:
    """Tokenise captions. Returns the items and the number of spans that hold no token (left out)."""
    items, empty = [], 0
    counts: Counter[str] = Counter()
    for caption in captions:
        encoded = encoder.encode_caption(caption.caption)
        ends_here = any(span.kind in WHOLE for span in caption.spans)
        ids = (*encoded.ids, encoder.eos_id) if ends_here else encoded.ids
        spans = [_token_span(span, encoded, len(ids)) for span in caption.spans]
        real = tuple(span for span in spans if span.end > span.start)
        empty += len(spans) - len(real)
        if real:
            key = f"{caption.image}/{counts[caption.image]}"
            counts[caption.image] += 1
            items.append(CaptionItem(key, caption.image, prompt, ids, real).cut())
    return items, empty


def _token_span(span: TextSpan, encoded: CaptionIds, length: int) -> Span:
    if span.kind in WHOLE:
        return Span(span.kind, 0, length, span.score)
    return Span(span.kind, *token_range(encoded.offsets, span.start, span.end), span.score)
