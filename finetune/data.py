"""Training items: a caption's tokens once, with all its spans as token ranges.

A token belongs to the span that contains its last character, so the tokens are those the model itself would produce
for the running text, whatever the spans. A sentence sample is the whole caption with one end symbol.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from finetune.grouping import SpannedCaption, TextSpan
from finetune.presets import SENT

if TYPE_CHECKING:
    from common.models.base import CaptionIds, PromptIds


class Encoder(Protocol):
    """What items need of a model; every :class:`common.models.base.CaptionModel` is one."""

    eos_id: int

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input."""

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:
        """Token ids of a text input, cut at the image."""

    def encode_caption(self, caption: str) -> CaptionIds:
        """A caption tokenised once."""


@dataclass(frozen=True)
class Span:
    """A target in the tokens of an item.

    Attributes:
        kind: one of `finetune.presets.KINDS`.
        start, end: tokens, end exclusive.
        score: CLIP score of the sample.
        weight: factor of its loss in the sum of its kind; 0 until sampling has been chosen.
        reference: mean token loss under the frozen model, where an objective needs it.
    """

    kind: str
    start: int
    end: int
    score: float
    weight: float = 0.0
    reference: float = 0.0


@dataclass(frozen=True)
class CaptionItem:
    """One row of a batch: an image, a prompt, target tokens, and the spans among them."""

    key: str
    image: str
    prompt: PromptIds
    ids: tuple[int, ...]
    spans: tuple[Span, ...]

    def cut(self) -> CaptionItem:
        """Without the tokens after the last span, which no loss needs."""
        return replace(self, ids=self.ids[: max(span.end for span in self.spans)])


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
        ends_here = any(span.kind == SENT for span in caption.spans)
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
    if span.kind == SENT:
        return Span(SENT, 0, length, span.score)
    return Span(span.kind, *token_range(encoded.offsets, span.start, span.end), span.score)


def only_kinds(items: Iterable[CaptionItem], kinds: Sequence[str]) -> list[CaptionItem]:
    """Items with the spans of these kinds alone; items without any are left out."""
    kept = [replace(item, spans=tuple(s for s in item.spans if s.kind in kinds)) for item in items]
    return [item.cut() for item in kept if item.spans]


def one_by_one(items: Iterable[CaptionItem]) -> list[CaptionItem]:
    """An item for each span, as the published code has them."""
    return [replace(item, spans=(span,)).cut() for item in items for span in item.spans]


def count_spans(items: Iterable[CaptionItem]) -> Counter[str]:
    """Number of spans of each kind."""
    return Counter(span.kind for item in items for span in item.spans)


def map_spans(items: Iterable[CaptionItem], change: Callable[[Span], Span]) -> list[CaptionItem]:
    """Items with every span replaced."""
    return [replace(item, spans=tuple(map(change, item.spans))) for item in items]
