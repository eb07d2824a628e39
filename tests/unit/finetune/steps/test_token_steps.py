"""Steps by tokens: what is drawn, and what each span weighs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.thresholds import Thresholds
from finetune.corpus.records import GOLD, NEG, POS, SENT, CaptionItem, Span, count_spans
from finetune.objectives.presets import loss_weights
from finetune.steps.packs import PackPlan
from finetune.steps.sampling import Steps, with_sample_weights
from finetune.steps.token_steps import token_set
from tests.unit.finetune.steps.test_packs import PROMPT
from tests.unit.finetune.steps.test_sampling import captions

worlds = st.lists(st.text("pns", min_size=1, max_size=4), min_size=1, max_size=14)


@given(worlds, st.integers(1, 3), st.integers(12, 60), st.integers(0, 99), st.integers(0, 2))
@settings(max_examples=100)
def test_the_mean_over_an_epochs_steps_is_the_mean_over_each_kind(
    words: list[str], an_image: int, budget: int, seed: int, epoch: int
) -> None:
    """Equation (1), for any packing, in any epoch; scores stand for losses."""
    items = captions(words, an_image)
    data = token_set(items, [], PackPlan(2, True, budget), 1)
    first = sum(len(data.packs(seed, earlier)) for earlier in range(epoch))
    packs = len(data.packs(seed, epoch))
    drawn = [span for n in range(first, first + packs) for item in data.drawn(n, seed) for span in item.spans]
    for kind, number in count_spans(items).items():
        wanted = sum(s.score for i in items for s in i.spans if s.kind == kind) / number
        assert sum(s.weight * s.score for s in drawn if s.kind == kind) / packs == pytest.approx(wanted)


@given(worlds, st.integers(1, 3), st.integers(12, 60), st.integers(0, 9))
@settings(max_examples=60)
def test_every_image_comes_once_an_epoch_and_every_step_is_one_pack(
    words: list[str], an_image: int, budget: int, seed: int
) -> None:
    """Whole, where it fits; in two epochs twice, however many packs each has."""
    plan = PackPlan(2, True, budget)
    data = token_set(captions(words, an_image), [], plan, 1)
    steps = Steps(data, data.batches(2, seed), seed)
    found = sorted(span.score for n in range(len(steps)) for item in steps[n] for span in item.spans)
    assert found == sorted(2 * [span.score for item in data.items for span in item.spans])
    assert all(len(plan.cut(steps[n])) == 1 for n in range(len(steps)))


def test_t11_the_packing_is_a_function_of_seed_and_epoch() -> None:
    """A set that has never drawn an earlier step draws the same; epochs and seeds differ."""
    items = captions(["pn"] * 30)
    one, other = (token_set(items, [], PackPlan(2, True, 30), 1) for _ in range(2))
    assert [one.drawn(n, 7) for n in range(20)][-1] == other.drawn(19, 7)
    assert one.packs(7, 0) != one.packs(7, 1) and one.packs(7, 0) != one.packs(8, 0)


def test_epochs_can_be_broken() -> None:
    """Half an epoch is half its packs."""
    data = token_set(captions(["pn"] * 8), [], PackPlan(2, True, 7), 1)
    packs = len(data.packs(0, 0))
    assert packs == 4 and data.batches(0.5, 0) == 2 and data.batches(1.25, 0) == 5


def test_instruction_data_has_its_room_in_every_pack_and_its_own_weight() -> None:
    """Room is kept within the budget, so that a step stays one pack; the factor P is not for it."""
    gold = [CaptionItem(f"gold/{n}", f"g{n}", PROMPT, (3, 2), (Span(GOLD, 0, 2, 40.0),)) for n in range(3)]
    plan = PackPlan(2, True, 30)
    data = token_set(captions(["pn"] * 9), gold, plan, 2)
    for number in range(data.batches(1, 0)):
        step = data.drawn(number, 0)
        assert [s.weight for i in step for s in i.spans if s.kind == GOLD] == [0.5, 0.5]
        assert len(plan.cut(step)) == 1


def test_sample_weights_multiply() -> None:
    """The release's: negatives by 55 - score."""
    data = with_sample_weights(
        token_set(captions(["n"]), [], PackPlan(2, True, 30), 1), loss_weights("release"), Thresholds()
    )
    assert data.drawn(0, 0)[0].spans[0].weight == 55.0


def test_fill_counted_by_hand() -> None:
    """Three images of 5 tokens and a shared one before them: 11 of 12, then 6 of 12."""
    data = token_set(captions(["pns"] * 3), [], PackPlan(3, True, 12), 1)
    assert data.fill(0) == pytest.approx((11 + 6) / 24)
    assert {POS, NEG, SENT} == {s.kind for i in data.items for s in i.spans}
