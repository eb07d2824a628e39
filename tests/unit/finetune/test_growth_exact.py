"""What is made in n log n is exactly what the plain definitions give, which look at all pairs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.files.records import SentenceSample, SpanSample
from common.models.text.ids import PromptIds
from common.samples.spans import OPEN_ABBREVIATIONS, TITLES, WORD_BEFORE, split_spans
from common.samples.spans import Span as TextRange
from common.thresholds import Thresholds
from finetune.corpus.grouping import filter_samples, group
from finetune.corpus.prefixes import prefix_parents
from finetune.corpus.records import NEG, POS, SENT, CaptionItem, Span, SpannedCaption, TextSpan
from finetune.steps.packs import PackPlan, image_groups, merged

PROMPTS = (PromptIds((1, 5, 6), (7,)), PromptIds((1, 8), ()))
LIMITS = Thresholds()

# Few letters, so that much begins much.
TEXTS = st.text("ab", min_size=1, max_size=5)
IDS = st.lists(st.integers(0, 1), min_size=1, max_size=5).map(tuple)


@given(st.lists(TEXTS))
def test_the_parent_is_the_longest_prefix(texts: list[str]) -> None:
    for text, parent in prefix_parents(texts).items():
        prefixes = [other for other in texts if other != text and text.startswith(other)]
        assert parent == max(prefixes, key=len, default=None)


def plain_group(
    image: str, spans: Sequence[tuple[str, SpanSample]], sentences: Sequence[SentenceSample]
) -> list[SpannedCaption]:
    """A span joins the first caption of its image that begins with its sentence, the longest sentences first."""
    captions: dict[str, list[TextSpan]] = {}
    for sentence in sentences:
        whole = TextSpan(SENT, 0, len(sentence.sentence), sentence.mean)
        captions.setdefault(sentence.sentence, []).append(whole)
    for kind, sample in sorted(spans, key=lambda pair: -len(pair[1].sentence)):
        home = next((text for text in captions if text.startswith(sample.sentence)), sample.sentence)
        captions.setdefault(home, []).append(TextSpan(kind, sample.position, len(sample.sentence), sample.score))
    return [
        SpannedCaption(image, text, tuple(sorted(found, key=lambda s: (s.start, s.end, s.kind, s.score))))
        for text, found in captions.items()
    ]


@given(st.lists(st.tuples(TEXTS, st.sampled_from([10.0, 20.0, 35.0, 40.0])), max_size=25), st.lists(TEXTS, max_size=10))
@settings(max_examples=200)
def test_captions_are_grouped_as_defined(spans: list[tuple[str, float]], sentences: list[str]) -> None:
    samples = [SpanSample("1.jpg", text, 0, score) for text, score in spans]
    wholes = [SentenceSample("1.jpg", text, 30.0 + n, 25.0) for n, text in enumerate(sentences)]
    filtered = filter_samples(samples, wholes, LIMITS)
    assert group(filtered) == plain_group("1.jpg", filtered.spans, filtered.sentences)


def plain_merged(items: Sequence[CaptionItem]) -> list[CaptionItem]:
    """An item joins the first kept one that it begins or that begins it; the longer tokens stay."""
    kept: list[CaptionItem] = []
    for item in items:
        for place, other in enumerate(kept):
            short, long = sorted((item, other), key=lambda one: len(one.ids))
            if long.ids[: len(short.ids)] == short.ids:
                kept[place] = replace(other, ids=long.ids, spans=other.spans + item.spans)
                break
        else:
            kept.append(item)
    return kept


def items_of(ids: Sequence[tuple[int, ...]], prompt: PromptIds = PROMPTS[0]) -> list[CaptionItem]:
    """Captions of one image, each a span of its own."""
    spans = [Span((POS, NEG)[n % 2], 0, len(i), float(n)) for n, i in enumerate(ids)]
    return [CaptionItem(str(n), "1", prompt, i, (span,)) for n, (i, span) in enumerate(zip(ids, spans, strict=True))]


@given(st.lists(IDS, max_size=30))
@settings(max_examples=200)
def test_branches_are_merged_as_defined(ids: list[tuple[int, ...]]) -> None:
    items = items_of(ids)
    assert merged(items) == plain_merged(items)


def plain_parts(plan: PackPlan, items: Sequence[CaptionItem], budget: int) -> list[list[CaptionItem]]:
    """A caption joins the part before it if the whole part stays within the budget."""
    parts: list[list[CaptionItem]] = []
    for item in items:
        if parts and plan.tokens([plan.unit((*parts[-1], item))]) <= budget:
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12).map(tuple), min_size=1, max_size=30),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(PROMPTS),
)
@settings(max_examples=150)
def test_groups_are_parted_as_defined(ids: list[tuple[int, ...]], budget: int, shares: bool, prompt: PromptIds) -> None:
    plan = PackPlan(image_tokens=4, shares=shares, budget=budget)
    items = items_of(ids, prompt)
    (whole,) = image_groups(items)
    fits = plan.tokens([plan.unit(whole)]) <= budget
    assert [list(unit.items) for unit in plan.units(items)] == ([items] if fits else plain_parts(plan, items, budget))


def plain_spans(caption: str) -> list[TextRange]:
    """Runs of punctuation before a space, a closer or the end, without the stops of abbreviations."""
    spans, start = [], 0
    for match in re.finditer(r"[,.;!?:]+(?=[\s\"'”’»)\]}]|\Z)", caption):
        following = caption[match.end() :].lstrip(" \t\n\r\"'”’»)]}")
        before = WORD_BEFORE.search(caption, max(0, match.start() - 12), match.start())
        word = before.group().lower() if before and following and match.group() == "." else ""
        if word in TITLES or (word in OPEN_ABBREVIATIONS and not following[0].isupper()):
            continue
        spans.append(TextRange(start, match.start()))
        start = match.end()
    spans.append(TextRange(start, len(caption)))
    return [span for span in spans if any(c.isalnum() for c in caption[span.start : span.end])]


PIECES = st.sampled_from(
    ["a", "B", "Mr", "etc", "e.g", "U.S", ".", ".", ",", "?!", ":", " ", "\n", '"', ")", "]", "}", "2", "_", "\u00a0"]
)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=150)
def test_captions_are_split_as_defined(caption: str) -> None:
    assert split_spans(caption) == plain_spans(caption)


def many_texts(number: int) -> list[str]:
    """Captions that begin alike, and their sub-sentences."""
    return [f"A dog and a cat, number {n} of all, sit." for n in range(number)]


def preparing(number: int) -> Callable[[], object]:
    """All of one image: texts grouped, tokens merged and parted."""
    texts = many_texts(number)
    spans = [SpanSample("1.jpg", t[:cut], 0, 35.0) for t in texts for cut in (16, len(t) - 5, len(t))]
    wholes = [SentenceSample("1.jpg", text, 30.0, 25.0) for text in texts]
    items = items_of([(1, 2, 3, *map(int, str(n)))[: 3 + n % 9] for n in range(number)])

    def run() -> object:
        found = group(filter_samples(spans, wholes, LIMITS))
        return found, PackPlan(10, shares=True, budget=500).cut(merged(items))

    return run


@pytest.mark.parametrize("caption", ["etc. a " * 20_000, "," * 200_000 + "x", "a." + '"' * 200_000, ". " * 100_000])
def test_a_long_caption_is_split_at_once(caption: str) -> None:
    """Time per character does not grow: these took minutes when every full stop copied the rest."""
    begun = time.process_time()
    split_spans(caption)
    assert time.process_time() - begun < 2


def test_ten_thousand_captions_of_one_image_are_prepared_at_once() -> None:
    """Looking at all pairs takes minutes."""
    run = preparing(10_000)
    begun = time.process_time()
    run()
    assert time.process_time() - begun < 5
