"""Who decides word classes: the bundled tagger on sentences decided by hand, NLTK's where it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.errors import ArgumentError, MissingDependencyError
from common.files.records import Caption
from evaluate import eval_auto
from evaluate.chair.gold_cache import cache_key
from evaluate.chair.parser import ChairParser
from evaluate.tagger import nltk_tagger
from evaluate.tagger.nltk_tagger import NltkTagger, tagger_of
from evaluate.tagger.tagger import bundled_tagger, class_of, word_classes
from evaluate.tagger.tokens import words
from evaluate.tagger_training.check import Agreement, agreement

# Written for this test and decided by reading, one word each; where English leaves no doubt, no tagger may err.
DECIDED = [
    ("Three people are seated around a wooden table.", "seated", "verb"),
    ("An old man is seated near the window of a bus.", "seated", "verb"),
    ("Nobody is skiing because the snow has melted.", "skiing", "verb"),
    ("Two children are skiing down a gentle slope.", "skiing", "verb"),
    ("A boy is skateboarding along the pavement.", "skateboarding", "verb"),
    ("The driver is parking his van behind a lorry.", "parking", "verb"),
    ("A waiter is lighting the candles.", "lighting", "verb"),
    ("The train stopped at a small station.", "stopped", "verb"),
    ("The horses are grazing next to a fence.", "horses", "noun"),
    ("Several giraffes walk across the plain.", "giraffes", "noun"),
    ("There are four zebras in the water.", "zebras", "noun"),
    ("She put the carrots into two bowls.", "carrots", "noun"),
    ("She put the carrots into two bowls.", "bowls", "noun"),
    ("A pot of soup stands on the stove.", "stove", "noun"),
    ("Geese and ducks swim on the pond.", "ducks", "noun"),
    ("Behind the counter hang knives and spoons.", "knives", "noun"),
    ("Two laptops lie on the desk.", "laptops", "noun"),
    ("Many bottles of wine fill the shelf.", "bottles", "noun"),
    ("Some kites are flying above the beach.", "kites", "noun"),
    ("The women hold their skis.", "skis", "noun"),
    ("His surfboards are made of wood.", "surfboards", "noun"),
]


@pytest.mark.parametrize(("text", "word", "expected"), DECIDED)
def test_bundled_tagger_on_sentences_decided_by_hand(text: str, word: str, expected: str) -> None:
    tokens = words(text)
    assert word_classes(tokens)[tokens.index(word)] == expected


class AllVerbs:
    """Takes every word for a verb."""

    def tags(self, tokens: Sequence[str]) -> list[str]:
        """VB each."""
        return ["VB"] * len(tokens)


def test_a_parser_asks_the_tagger_it_is_given() -> None:
    nouns, verbs = ChairParser(), ChairParser(tagger=AllVerbs())
    assert [m.node for m in nouns.objects("the giraffes")] == ["giraffe"]
    assert verbs.objects("the giraffes") == []  # no verb "to giraffe": the word stays as it is
    assert [m.word for m in verbs.objects("the seating")] == ["seat"]
    assert [m.word for m in ChairParser("paper", tagger=AllVerbs()).objects("the giraffes")] == ["giraffe"]


def test_what_a_token_counts_as() -> None:
    parser = ChairParser()
    assert (parser.counts_as("seated", "verb"), parser.counts_as("seated", "adjective")) == ("seat", None)
    assert parser.counts_as("xylophone", "noun") is None
    assert [class_of(tag) for tag in ("NNS", "VBG", "JJ", "RB", "CD")] == [
        "noun", "verb", "adjective", "adjective", "noun",
    ]  # fmt: skip


def test_agreement_counts_word_lists_and_rates() -> None:
    captions = [Caption("1", 1, "the giraffes"), Caption("2", 2, "a dog"), Caption("3", 3, "the giraffes")]
    gold = {1: frozenset({"dog"}), 2: frozenset({"cat"})}
    found = agreement("x", captions, ChairParser(tagger=AllVerbs()), ChairParser(), gold)
    assert (found.captions, found.same) == (3, 1)
    assert (found.chair_s, found.chair_i) == (50.0, 0.0)  # 1 of 2 against 2 of 2; all mentions are wrong in both
    assert found.line() == "| x | 3 | 1 (33.33 %) | 50.00 | 0.00 |"
    assert agreement("y", captions, ChairParser(), ChairParser(), {}) == Agreement("y", 3, 3, None, None)


def test_nltk_without_its_data_says_which_command_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    with pytest.raises(MissingDependencyError, match=r"python -m nltk\.downloader averaged_perceptron_tagger_eng"):
        NltkTagger()


def test_taggers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = AllVerbs()
    monkeypatch.setattr(nltk_tagger, "nltk_tagger", lambda: other)
    assert tagger_of("bundled") is bundled_tagger()
    assert tagger_of("nltk") is other


def test_cached_ground_truth_rests_on_the_tagger(tmp_path: Path) -> None:
    file = tmp_path / "captions.json"
    file.write_text("{}")
    assert cache_key([file], "standard", None, "nltk") != cache_key([file], "standard", None)


def scored(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> dict[str, object]:
    """The result of one caption of giraffes, as JSON."""
    (folder / "captions.jsonl").write_text('{"image_id": 1, "caption": "Here are the giraffes of a dog."}\n')
    (folder / "gold.json").write_text('{"1": ["dog"]}')
    paths = [f"--caption_eval_path={folder}/captions.jsonl", f"--gold_objects_path={folder}/gold.json"]
    monkeypatch.setattr(sys, "argv", ["eval_auto.py", *paths, f"--result_path={folder}/result.json", *more])
    eval_auto.main()
    found: dict[str, object] = json.loads((folder / "result.json").read_text())
    return found


def test_a_result_names_the_tagger_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nltk_tagger, "nltk_tagger", AllVerbs)
    own, theirs = scored(monkeypatch, tmp_path), scored(monkeypatch, tmp_path, "--pos_tagger", "nltk")
    assert theirs["definition"] == f"{own['definition']}; word classes by NLTK's own tagger"
    assert own["counts"] != theirs["counts"]  # giraffes counted, and not


def test_paper_mode_asks_no_tagger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="changes nothing in paper mode"):
        scored(monkeypatch, tmp_path, "--pos_tagger", "nltk", "--chair_mode", "paper")
