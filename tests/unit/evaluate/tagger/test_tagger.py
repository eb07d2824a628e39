"""The tagger: what it decides, its file, and that training follows its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.chair.parser import ChairParser
from evaluate.tagger.tagger import bundled_tagger, read_model, shape, word_classes
from evaluate.tagger.tokens import sentences, words
from evaluate.tagger_training.training import decisions, fixed_words, train, write_model
from evaluate.tagger_training.variants import shares, variants


def teacher(tokens: Sequence[str]) -> list[str]:
    """After "is" an -ing word is a verb, elsewhere a noun; the rest by word."""
    known = {"a": "DT", "the": "DT", "is": "VBZ", "he": "PRP"}
    tags = []
    for i, token in enumerate(tokens):
        verb = token.endswith("ing") and i > 0 and tokens[i - 1] == "is"
        tags.append("VBG" if verb else known.get(token, "NN"))
    return tags


TEXTS = ["he is skiing a slope", "the skiing is a thing", "he is seating a guest", "the seating is a thing"]


MATTER = frozenset(["skiing", "seating", "boating"])


def outcome(token: str, tag: str) -> str | None:
    """A verb counts."""
    return token if tag.startswith("V") else None


def tagged(texts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Tokens and the teacher's tags."""
    return [(text.split(), teacher(text.split())) for text in texts]


def test_training_learns_the_teachers_rule(tmp_path: Path) -> None:
    base = tagged(TEXTS * 4)
    more = variants(base, MATTER, outcome, teacher, total=300, seed=0)
    write_model(tmp_path / "t.tsv.gz", *train(base + more, MATTER, rounds=8, seed=0))
    tagger = read_model(tmp_path / "t.tsv.gz")
    assert tagger.tags(["he", "is", "boating"]) == ["PRP", "VBZ", "VBG"]  # no text of the base holds the word
    assert tagger.tags(["the", "boating"]) == ["DT", "NN"]
    before = (tmp_path / "t.tsv.gz").read_bytes()
    write_model(tmp_path / "t.tsv.gz", *train(base + more, MATTER, rounds=8, seed=0))
    assert (tmp_path / "t.tsv.gz").read_bytes() == before


def test_variants_hold_a_word_that_matters_and_the_teachers_tags() -> None:
    base = tagged(TEXTS)
    found = variants(base, MATTER, outcome, teacher, total=200, seed=1)
    assert found == variants(base, MATTER, outcome, teacher, total=200, seed=1)
    assert 150 <= len(found) <= 250
    assert {word for tokens, _ in found for word in tokens} >= MATTER
    assert all(MATTER.intersection(tokens) and tags == teacher(tokens) for tokens, tags in found)
    assert variants(tagged(["he is a thing"]), MATTER, outcome, teacher, total=200, seed=1) == []


def test_undecided_words_get_the_larger_share() -> None:
    base = tagged(["he is skiing", "the skiing", "the seating", "the seating"])
    parts = shares(base, [], MATTER, outcome)
    assert parts["skiing"] > 10 * parts["seating"] > 0
    assert sum(parts.values()) == pytest.approx(1)


def test_only_decisions_that_bear_on_a_count_are_learnt() -> None:
    tokens = ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "skiing", "w8"]
    rows = list(decisions([(tokens, ["NN"] * 9)] * 2, MATTER, {"w6": "NN"}))
    learnt = [next(f for f in found if f.startswith("6:")) for found, _, _ in rows]
    assert learnt == ["6:w2", "6:w3", "6:w4", "6:w5", "6:skiing"]  # each once, and no word that has one tag


def test_fixed_words_are_frequent_and_of_one_tag() -> None:
    rows = [(["a", "run"], ["DT", "NN"])] * 50 + [(["run"], ["VB"]), (["rare"], ["NN"])]
    assert fixed_words(rows) == {"a": "DT"}


def test_bundled_tagger_tells_verbs_from_nouns() -> None:
    tokens = words("A man is seated on a bench. Two umbrellas stand on the beach.")
    classes = dict(zip(tokens, word_classes(tokens), strict=True))
    assert (classes["seated"], classes["bench"]) == ("verb", "noun")


def test_only_standard_mode_depends_on_classes() -> None:
    assert {"seated", "skiing", "umbrellas", "parking"} <= ChairParser("standard").class_dependent
    assert ChairParser("paper").class_dependent == frozenset()


def test_shapes() -> None:
    assert [shape(t) for t in ("Dog", "snow-covered", "1998", "3rd", "-")] == [
        "dog",
        "!HYPHEN",
        "!YEAR",
        "!DIGITS",
        "-",
    ]


def test_sentences_end_before_white_space_only() -> None:
    assert sentences("It is 2.5 m. He left!  (She did.) So?") == ["It is 2.5 m.", "He left!", "(She did.)", "So?"]
    assert words("The table.") == ["the", "table", "."]
    assert words("the table.the") == ["the", "table.the"]


@given(st.lists(st.text(min_size=1, max_size=8), max_size=15))
def test_any_tokens_get_one_tag_each(tokens: list[str]) -> None:
    assert len(bundled_tagger().tags(tokens)) == len(tokens)
