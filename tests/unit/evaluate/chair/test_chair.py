"""CHAIR's parser and counts: one golden case a rule, reasoned from the definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.chair.counting import FORMULAS, ChairParser, caption_units, score_caption
from evaluate.metrics.stats import point_scores

STANDARD = ChairParser("standard")
PAPER = ChairParser("paper")


def nodes(text: str, parser: ChairParser = STANDARD) -> list[str]:
    """COCO objects that a text names."""
    return [m.node for m in parser.objects(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two puppies sit on a sofa.", ["dog", "couch"]),  # plural, synonym
        ("WOMEN and children", ["person", "person"]),  # irregular plurals, case
        ("two men", []),  # WordNet knows "men" as a word of its own, and the list does not hold it
        ("a hot dog", ["hot dog"]),  # merged pair: no dog
        ("a baby elephant", ["elephant"]),  # the baby is no person
        ("an adult giraffe", ["giraffe"]),
        ("a passenger train", ["train"]),  # the passenger is no person
        ("He is near home plate.", []),  # vanishing pair
        ("The train tracks are empty.", []),  # no train
        ("a bow tie", ["tie"]),
        ("two wine glasses", ["wine glass"]),
        ("a toilet seat", ["toilet"]),
        ("The seat of the toilet is up.", ["toilet"]),  # no chair
        ("a seat", ["chair"]),
        ("a man seated at a desk", ["person", "chair", "dining table"]),  # verb "seat"
        ("a stove top oven", ["oven", "oven"]),  # three words never match a two-token window
        ("a red carpet", []),  # whole words only: no car
        ("a snow-covered car.", ["car"]),
        ('a sign saying "bus." The end', ["bus"]),  # the sentence ends at the quote
        ("", []),
    ],
)
def test_standard_rules(text: str, expected: list[str]) -> None:
    assert nodes(text) == expected


def test_entries_that_never_match_in_standard_mode() -> None:
    """The original list holds ' motor bike', ' cheesecake' and 'iPhone'."""
    assert nodes("a motor bike") == []
    assert nodes("a cheesecake and an iPhone") == []
    assert nodes("a motor bike and a cheesecake", PAPER) == ["motorcycle", "cake"]


def test_paper_list_has_more_words() -> None:
    assert nodes("her brother", PAPER) == ["person"]
    assert nodes("a coffee table with a remote control", PAPER) == ["dining table", "remote"]
    assert nodes("her brother") == []


def test_paper_takes_every_word_as_a_noun() -> None:
    assert nodes("a man seated at a desk", PAPER) == ["person", "dining table"]


def test_e4_repeats_count_each_time_in_standard_and_once_a_word_in_paper() -> None:
    text = "A man, a person, another man and a dog."
    standard, paper = score_caption(STANDARD, text, {"person"}), score_caption(PAPER, text, {"person"})
    assert [m.word for m in standard.mentions] == ["man", "person", "man", "dog"]
    assert [m.word for m in paper.mentions] == ["man", "person", "dog"]
    assert [m.node for m in standard.hallucinated] == ["dog"]


def test_e4_captions_without_objects_do_not_divide_by_zero() -> None:
    units = caption_units(["1/0"], [score_caption(STANDARD, "The mood is calm.", {"dog"})])
    scores = point_scores(units, FORMULAS)
    assert scores["chair_s"] == scores["chair_i"] == scores["recall"] == 0.0
    assert scores["words"] == 4.0


def test_scores_over_captions() -> None:
    """Three captions, four mentions, one hallucinated; two of three gold objects named."""
    texts = [("a dog and a cat", {"dog", "cat"}), ("a car and a dog", {"car"}), ("the sky", {"bird"})]
    units = caption_units(list("abc"), [score_caption(STANDARD, t, g) for t, g in texts])
    scores = point_scores(units, FORMULAS)
    assert scores["chair_s"] == pytest.approx(1 / 3)
    assert scores["chair_i"] == pytest.approx(1 / 4)
    assert scores["recall"] == pytest.approx(3 / 4)


def test_repetition_is_the_share_of_captions_that_name_an_object_twice() -> None:
    again = ("A dog, a cat, a dog, a cat.", "A sofa. The couch is red.")
    texts = ["A dog and a puppy.", "A dog and a cat.", "Two dogs.", *again]
    for parser in (STANDARD, PAPER):  # also where a word counts once
        scores = [score_caption(parser, text, ()) for text in texts]
        assert [score.repeats for score in scores] == [True, False, False, True, True]
        assert point_scores(caption_units(list("abcde"), scores), FORMULAS)["repetition"] == pytest.approx(3 / 5)


def test_markup_in_captions_stays_text() -> None:
    assert nodes("<b>dog</b> & \x00 cat \u202e") == ["dog", "cat"]


@given(st.text(max_size=200))
def test_any_text_parses_and_positions_rise(text: str) -> None:
    positions = [m.position for m in STANDARD.objects(text)]
    assert positions == sorted(set(positions))


@given(st.lists(st.sampled_from(["dog", "sofa", "sky", "wine", "glass", "toilet", "seat"]), max_size=12))
def test_mentions_do_not_depend_on_case(tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert nodes(text) == nodes(text.upper())
