"""Image groups, branches that share a prefix, and packs within a budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.models.text.ids import PromptIds
from finetune.corpus.records import NEG, POS, CaptionItem, Span
from finetune.steps.packs import PackPlan, image_groups, merged

PROMPT, OTHER = PromptIds((1, 5, 6), (7,)), PromptIds((1, 8), ())


def item(key: str, image: str, ids: tuple[int, ...], prompt: PromptIds = PROMPT, kind: str = POS) -> CaptionItem:
    """A caption whose whole is one span."""
    return CaptionItem(key, image, prompt, ids, (Span(kind, 0, len(ids), 30.0, weight=1.0),))


def test_tokens_of_a_pack_counted_by_hand() -> None:
    """3 tokens before the images once; an image: 10 + 1 after it; a branch: all but its last token."""
    plan = PackPlan(image_tokens=10, shares=True)
    items = [item("a", "1", (20, 21, 22)), item("b", "1", (30,)), item("c", "2", (40, 41))]
    (pack,) = plan.cut(items)
    assert plan.tokens(pack) == 3 + (10 + 1 + 2 + 0) + (10 + 1 + 1)
    assert plan.row_tokens(items[0]) == 3 + 10 + 1 + 2
    (with_other,) = plan.cut([*items, item("d", "1", (50,), OTHER)])
    assert plan.tokens(with_other) == plan.tokens(pack) + 2 + 10
    rows = PackPlan(image_tokens=10, shares=False)
    assert rows.tokens(rows.cut(items)[0]) == (14 + 2) + (14 + 0) + (14 + 1)


def test_tokens_that_captions_begin_with_count_once() -> None:
    """Not those of captions of other images, nor where every caption is a row of its own."""
    items = [item("a", "1", (20, 21, 22, 23)), item("b", "1", (20, 21, 30)), item("c", "2", (20, 21))]
    (pack,) = PackPlan(image_tokens=10, shares=True).cut(items)
    assert PackPlan(image_tokens=10, shares=True).tokens(pack) == 3 + (11 + 3 + 0) + (11 + 1)
    rows = PackPlan(image_tokens=10, shares=False)
    assert rows.tokens(rows.cut(items)[0]) == (14 + 3) + (14 + 2) + (14 + 1)


def test_branches_that_begin_others_join_them() -> None:
    """In any order; the spans keep their weights and places; other images and prompts stay apart."""
    short, long = item("a", "1", (4, 5)), item("b", "1", (4, 5, 6), kind=NEG)
    for pair in ([short, long], [long, short]):
        (joined,) = merged(pair)
        assert joined.ids == (4, 5, 6)
        assert sorted((s.kind, s.start, s.end) for s in joined.spans) == [(NEG, 0, 3), (POS, 0, 2)]
    assert len(merged([short, item("c", "2", (4, 5)), item("d", "1", (4, 5), OTHER), item("e", "1", (4, 6))])) == 4


def test_a_caption_twice_is_one_branch_with_two_spans() -> None:
    """Which is the doubled weight."""
    (joined,) = merged([item("a", "1", (4, 5)), item("a", "1", (4, 5))])
    assert joined.ids == (4, 5) and [s.weight for s in joined.spans] == [1.0, 1.0]


def test_an_image_above_the_budget_is_parted_between_captions() -> None:
    """A caption alone above it is a pack of its own: what does not fit is left out before, and said."""
    plan = PackPlan(image_tokens=10, shares=True, budget=20)
    items = [item(str(n), "1", tuple(range(n * 10, n * 10 + 4))) for n in range(4)] + [
        item("long", "2", tuple(range(30)))
    ]
    packs = plan.cut(items)
    assert [[len(unit.items) for unit in pack] for pack in packs] == [[2], [2], [1]]
    assert [plan.tokens(pack) for pack in packs] == [20, 20, 43]


def test_a_later_image_fills_what_is_left() -> None:
    """Within the window; order is kept otherwise."""
    plan = PackPlan(image_tokens=1, shares=True, budget=20)
    sizes = {"a": 10, "b": 12, "c": 3, "d": 2}
    units = plan.units(item(name, name, tuple(range(size))) for name, size in sizes.items())
    assert plan.fill(units) == [[0, 2], [1, 3]]


words = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(tuple)
items_of = st.lists(st.tuples(st.integers(0, 5), words, st.sampled_from([PROMPT, OTHER])), min_size=1, max_size=25)


@given(items_of, st.integers(15, 60), st.booleans())
@settings(max_examples=200)
def test_every_item_is_in_one_pack_and_no_pack_is_above_the_budget(
    drawn: list[tuple[int, tuple[int, ...], PromptIds]], budget: int, shares: bool
) -> None:
    """And groups of a pack are of one image and one prompt each."""
    plan = PackPlan(image_tokens=4, shares=shares, budget=budget)
    items = [item(str(n), str(image), ids, prompt) for n, (image, ids, prompt) in enumerate(drawn)]
    packs = plan.cut(items)
    assert sorted(i.key for pack in packs for unit in pack for i in unit.items) == sorted(i.key for i in items)
    for pack in packs:
        alone = [i for unit in pack for i in unit.items]
        assert plan.tokens(pack) <= budget or len(alone) == 1
        assert all(len({(i.image, i.prompt) for i in unit.items}) == 1 for unit in pack)


@given(items_of)
def test_merging_loses_and_invents_no_span(drawn: list[tuple[int, tuple[int, ...], PromptIds]]) -> None:
    """Context and target of every span are what they were; no branch begins another."""
    items = [item(str(n), str(image), ids, prompt) for n, (image, ids, prompt) in enumerate(drawn)]

    def samples(some: list[CaptionItem]) -> list[object]:
        return sorted((i.image, i.prompt.before, i.ids[: s.end], s.start) for i in some for s in i.spans)

    fewer = merged(items)
    assert samples(fewer) == samples(items)
    for group in image_groups(fewer):
        texts = [i.ids for i in group]
        assert not any(a == b[: len(a)] for n, a in enumerate(texts) for m, b in enumerate(texts) if n != m)


@pytest.mark.parametrize("budget", [30, 64])
def test_sizes_are_those_of_the_model_side(budget: int) -> None:
    """A layout holds as many tokens as the plan reckoned with."""
    from common.models.packed.layout import PackedImage, lay_out

    plan = PackPlan(image_tokens=4, shares=True, budget=budget)
    items = [item(str(n), str(n // 3), tuple(range(n % 2, n + 2)), OTHER if n % 4 == 3 else PROMPT) for n in range(9)]
    for pack in plan.cut(items):
        images = [PackedImage(0, u.items[0].prompt, tuple(i.ids for i in u.items)) for u in pack]
        assert plan.tokens(pack) == lay_out(images, 4, plan.length(pack)).tokens
