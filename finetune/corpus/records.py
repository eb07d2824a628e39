"""What flows through training: captions with spans of text, then of tokens, each span of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from common.models.text.ids import CaptionIds, PromptIds

POS, NEG, SENT, GOLD, REPAIR = "pos", "neg", "sent", "gold", "repair"
KINDS = (POS, NEG, SENT, GOLD, REPAIR)
WHOLE = (SENT, REPAIR)  # kinds whose target is a whole caption with its end symbol
GOLD_SCORE = 40.0  # what the published code puts in the place of a CLIP score for instruction data


class Encoder(Protocol):
    """What tokenising needs of a model; every :class:`common.models.base.CaptionModel` is one."""

    eos_id: int

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input."""

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:
        """Token ids of a text input, cut at the image."""

    def encode_caption(self, caption: str) -> CaptionIds:
        """A caption tokenised once."""


@dataclass(frozen=True)
class TextSpan:
    """A target inside a caption: characters `start:end`, and the CLIP score behind it (sentences: the mean)."""

    kind: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class SpannedCaption:
    """A caption of an image with its targets, in order of position."""

    image: str
    caption: str
    spans: tuple[TextSpan, ...]


@dataclass(frozen=True)
class Span:
    """A target in the tokens of an item.

    Attributes:
        kind: one of `KINDS`.
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
