"""The tagger: what it decides, its file, and that training follows its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.chair_parser import ChairParser
from evaluate.metrics.tagger import bundled_tagger, read_model, shape, word_classes
from evaluate.metrics.tokens import sentences, words
from evaluate.tagger_training import fixed_words, train, variants, write_model


def teacher(tokens: Sequence[str]) -> list[str]:
    """After "is" an -ing word is a verb, elsewhere a noun; the rest by word."""
    known = {"a": "DT", "the": "DT", "is": "VBZ", "he": "PRP"}
    tags = []
    for i, token in enumerate(tokens):
        verb = token.endswith("ing") and i > 0 and tokens[i - 1] == "is"
        tags.append("VBG" if verb else known.get(token, "NN"))
    return tags


TEXTS = ["he is skiing a slope", "the skiing is a thing", "he is seating a guest", "the seating is a thing"]


def test_training_learns_the_teachers_rule(tmp_path: Path) -> None:
    base = [(text.split(), teacher(text.split())) for text in TEXTS * 4]
    more = variants(base, ["skiing", "seating", "boating"], teacher, copies=3, seed=0)
    weights, fixed = train(base + more, rounds=4, seed=0)
    write_model(tmp_path / "t.tsv.gz", weights, fixed)
    tagger = read_model(tmp_path / "t.tsv.gz")
    assert tagger.tags(["he", "is", "boating"]) == ["PRP", "VBZ", "VBG"]
    assert tagger.tags(["the", "boating"]) == ["DT", "NN"]
    before = (tmp_path / "t.tsv.gz").read_bytes()
    write_model(tmp_path / "t.tsv.gz", *train(base + more, rounds=4, seed=0))
    assert (tmp_path / "t.tsv.gz").read_bytes() == before


def test_fixed_words_are_frequent_and_of_one_tag() -> None:
    rows = [(["a", "run"], ["DT", "NN"])] * 20 + [(["run"], ["VB"]), (["rare"], ["NN"])]
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
