"""What the loss of a kind is the mean of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.models.text.ids import PromptIds
from finetune.corpus.records import NEG, POS, CaptionItem, Span
from finetune.steps.sampling import averaged_over_tokens, mean_lengths, shared_set


def caption(name: str, *lengths: int, kind: str = POS) -> CaptionItem:
    """An item with one span of each length, one after the other."""
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    spans = tuple(Span(kind, end - length, end, 1.0) for length, end in zip(lengths, ends, strict=True))
    return CaptionItem(name, f"{name}.jpg", PromptIds((1,), ()), tuple(range(sum(lengths))), spans)


def test_every_token_of_a_kind_weighs_the_same() -> None:
    """A span of 2 tokens and one of 6: weights 2/4 and 6/4 of the former, so each token 1/4; kinds are apart."""
    items = [caption("a", 2, 6), caption("b", 5, kind=NEG)]
    assert mean_lengths(items) == {POS: 4.0, NEG: 5.0}
    before = [s.weight for item in shared_set(items, [], 1, 1).items for s in item.spans]
    after = [s.weight for item in averaged_over_tokens(shared_set(items, [], 1, 1)).items for s in item.spans]
    assert after == pytest.approx([before[0] / 2, before[1] * 1.5, before[2]])


@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=4), min_size=1, max_size=5))
def test_the_weight_of_a_kind_stays(captions: list[list[int]]) -> None:
    """Only its split over the spans changes."""
    data = shared_set([caption(str(i), *lengths) for i, lengths in enumerate(captions)], [], 1, 1)
    total = [sum(s.weight for item in d.items for s in item.spans) for d in (data, averaged_over_tokens(data))]
    assert total[1] == pytest.approx(total[0])
