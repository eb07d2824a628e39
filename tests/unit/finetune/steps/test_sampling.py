"""Which items make up a step, and what each span weighs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ArgumentError
from common.models.text.ids import PromptIds
from common.thresholds import Thresholds
from finetune.corpus.records import GOLD, NEG, POS, SENT, CaptionItem, Span, count_spans
from finetune.objectives.presets import loss_weights
from finetune.steps.sampling import Steps, TrainingSet, paper_set, shared_set, with_sample_weights

SIZES = {POS: 1, NEG: 1, SENT: 1, GOLD: 1}


def captions(kinds: list[str], an_image: int = 1) -> list[CaptionItem]:
    """One caption for each string of letters p, n, s, `an_image` of them of one image; scores are running numbers."""
    letters = {"p": POS, "n": NEG, "s": SENT}
    found, number = [], 0
    for i, word in enumerate(kinds):
        spans = []
        for place, letter in enumerate(word):
            spans.append(Span(letters[letter], place, place + 1, float(number)))
            number += 1
        found.append(
            CaptionItem(
                f"{i}",
                f"{i // an_image}.jpg",
                PromptIds((1,), ()),
                tuple(i * 10 + n for n in range(len(word))),
                tuple(spans),
            )
        )
    return found


def expectation(data: TrainingSet, kind: str, seed: int = 0) -> float:
    """Mean over whole epochs of the weighted sum of the spans' scores: each score stands for a loss."""
    rounds = 1
    for pool in data.pools:
        rounds *= len(pool.units)
    return sum(s.weight * s.score for s in drawn_spans(data, rounds, seed) if s.kind == kind) / rounds


def drawn_spans(data: TrainingSet, batches: int, seed: int) -> list[Span]:
    """Of all items of so many batches."""
    return [span for batch in Steps(data, batches, seed) for item in batch for span in item.spans]


WORLD = ["ppn", "s", "pns", "n", "np"]


@pytest.mark.parametrize("kind", [POS, NEG, SENT])
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("an_image", [1, 2])
def test_shared_and_paper_sampling_have_the_same_expectation(kind: str, batch: int, an_image: int) -> None:
    """Both are the mean over the kind's samples, which is computed here without either."""
    world = captions(WORLD, an_image)
    scores = [s.score for item in world for s in item.spans if s.kind == kind]
    mean = sum(scores) / len(scores)
    assert expectation(shared_set(world, [], batch, 1), kind) == pytest.approx(mean)
    sizes = {POS: batch, NEG: 1, SENT: 2, GOLD: 1}
    assert expectation(paper_set(world, [], sizes), kind) == pytest.approx(mean)


@given(
    st.lists(st.text("pns", min_size=1, max_size=4), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 99),
)
@settings(max_examples=40)
def test_weights_of_a_kind_sum_to_one_a_step_on_average(words: list[str], an_image: int, batch: int, seed: int) -> None:
    """However spans are spread over captions, and captions over images."""
    data = shared_set(captions(words, an_image), [], batch, 1)
    images = len(data.pools[0].units)
    spans = drawn_spans(data, images, seed)
    for kind in count_spans(data.items):
        assert sum(s.weight for s in spans if s.kind == kind) / images == pytest.approx(1.0)


def test_t11_order_is_a_function_of_the_seed() -> None:
    """The same seed gives the same run, another seed another."""
    data = shared_set(captions(WORLD * 4), [], 2, 1)
    first, again, other = (list(Steps(data, 30, seed)) for seed in (7, 7, 8))
    assert first == again != other
    assert Steps(data, 30, 7)[20] == first[20]


def test_t12_sets_smaller_than_a_batch_still_make_full_batches() -> None:
    """The published loader ended at once, without a step."""
    data = paper_set(captions(["p", "n", "s"]), [], {POS: 4, NEG: 2, SENT: 3, GOLD: 1})
    (batch,) = Steps(data, data.batches(1), 0)
    kinds = [span.kind for item in batch for span in item.spans]
    assert [kinds.count(kind) for kind in (POS, NEG, SENT)] == [4, 2, 3]


def test_samples_of_one_caption_that_are_drawn_together_share_its_branch() -> None:
    """Paper sampling: contexts are prefixes of one another; nothing is lost, and weights stay."""
    data = paper_set(captions(["pns"]), [], {POS: 1, NEG: 1, SENT: 1, GOLD: 1})
    (item,) = Steps(data, 1, 0)[0]
    assert sorted((s.kind, s.start, s.weight) for s in item.spans) == [(NEG, 1, 1.0), (POS, 0, 1.0), (SENT, 2, 1.0)]
    assert len(item.ids) == 3


def test_every_caption_is_seen_once_an_epoch() -> None:
    """Also when the batch does not divide their number: the next batch goes on."""
    data = shared_set(captions(["p"] * 7), [], 2, 1)
    drawn = [item.key for batch in Steps(data, 7, 3) for item in batch]
    assert sorted(drawn[:7]) == sorted(drawn[7:]) == [str(i) for i in range(7)]
    assert data.batches(1) == 4 and data.batches(2) == 7


def test_shared_steps_hold_all_captions_of_an_image() -> None:
    """That is what can be shared: the image is encoded, and its prefix run, once."""
    data = shared_set(captions(["p", "n", "s", "pn", "p"], an_image=2), [], 1, 1)
    drawn = [tuple(item.image for item in batch) for batch in Steps(data, 3, 0)]
    assert sorted(drawn) == [("0.jpg", "0.jpg"), ("1.jpg", "1.jpg"), ("2.jpg",)]


def test_paper_epoch_passes_once_over_the_negatives() -> None:
    """As published."""
    assert paper_set(captions(["ppp", "nn", "s"]), [], SIZES).batches(1) == 2


def test_instruction_data_joins_every_step() -> None:
    """A pool of its own, in both ways of sampling."""
    gold = [CaptionItem("gold/0", "g.jpg", PromptIds((1,), ()), (3, 2), (Span(GOLD, 0, 2, 40.0),))]
    for data in (shared_set(captions(WORLD), gold, 1, 2), paper_set(captions(WORLD), gold, {**SIZES, GOLD: 2})):
        assert [s.kind for s in drawn_spans(data, 1, 0)].count(GOLD) == 2
        assert data.items[-1].spans[0].weight == 0.5


def test_sample_weights_multiply() -> None:
    """The release's score weights: negatives by 55 - score."""
    data = with_sample_weights(shared_set(captions(["n"]), [], 1, 1), loss_weights("release"), Thresholds())
    assert data.items[0].spans[0].weight == 55.0


def test_sizes_below_one_are_named() -> None:
    """With the flag."""
    with pytest.raises(ArgumentError, match="--train_bs is 0"):
        shared_set(captions(["p"]), [], 0, 1)
    with pytest.raises(ArgumentError, match="--train_bs_neg is 0"):
        paper_set(captions(["n"]), [], {**SIZES, NEG: 0})
