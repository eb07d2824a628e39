"""The leaderboard's own arithmetic: noise, rows, tables."""

from __future__ import annotations

import json
import random
from dataclasses import fields
from pathlib import Path

import pytest

from common.errors import ArgumentError, DataError
from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from common.relevance.noise import noisy
from finetune.format_data import FormatArguments
from finetune.setup.arguments import GROUPS
from insight.scores.detector_quality import auroc, label_scores
from tests.bench.board_scripts import Scripts
from tests.bench.board_table import BASE, against_base, goal_lines, table
from tests.bench.leaderboard import (
    MINED,
    LeaderboardArguments,
    Run,
    blurred_to,
    chosen_recipes,
    key_of,
    mined_by,
    read_rows,
    runs_of,
)

GOLD = {image: frozenset({"dog"}) for image in range(300)}


def records() -> list[CaptionObjects]:
    """A dog that is there scores about 30, a cat that is not about 20, each named twice."""
    draw = random.Random(0)
    out = []
    for image in range(300):
        dog, cat = draw.gauss(30, 4), draw.gauss(20, 4)
        mentions = (
            ObjectMention("dog", 2, 5, dog), ObjectMention("cat", 8, 11, cat), ObjectMention("dog", 14, 17, dog),
        )  # fmt: skip
        out.append(CaptionObjects(f"{image}.png", image, "a dog, a cat, a dog", mentions))
    return out


def test_scores_are_blurred_to_the_wanted_auroc_and_no_further() -> None:
    vocabulary, plain = read_vocabulary(), records()
    assert auroc(label_scores(plain, GOLD, vocabulary)) > 0.95
    found, reached, deviation = blurred_to(plain, GOLD, vocabulary, 0.78, seed=1)
    assert reached == pytest.approx(0.78, abs=0.01) == auroc(label_scores(found, GOLD, vocabulary))
    assert noisy(plain, deviation, 1) == found  # as a probe will blur what it scores
    for record in found:  # one thing of one image has one score
        assert record.objects[0].score == record.objects[2].score != record.objects[1].score
    with pytest.raises(DataError, match="cannot be blurred"):
        blurred_to(plain, GOLD, vocabulary, 0.999, seed=1)


def test_noise_depends_on_image_and_object_alone() -> None:
    plain = records()
    assert noisy(plain, 5.0, 1)[7] == noisy(plain[7:8], 5.0, 1)[0] != noisy(plain[7:8], 5.0, 2)[0]
    assert noisy(plain, 0.0, 1) == plain


def test_what_has_a_row_is_not_run_again(tmp_path: Path) -> None:
    args = LeaderboardArguments(worlds="3,4", orders=2, auroc=0.78)
    runs = runs_of(args, ["a"])
    assert runs[:2] == [Run(BASE, 3, 0, 0.0), Run(BASE, 4, 0, 0.0)] and len(runs) == 6
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"recipe": "a", "world": 3, "order": 1, "auroc": 0.78}) + "\n" + '{"recipe": "a", "wor')
    assert [key_of(row) for row in read_rows(rows)] == [Run("a", 3, 1, 0.78)] and Run("a", 3, 1, 0.78) in runs


def test_the_table_by_hand() -> None:
    def row(recipe: str, world: int, chair_s: float) -> dict[str, object]:
        rest = dict.fromkeys(("chair_i", "recall", "bleu_4", "repetition"), 0.5)
        return {"recipe": recipe, "world": world, "order": 0, "auroc": 0.0, "chair_s": chair_s, "words": 40.0, **rest}

    rows = [row(BASE, 0, 0.7), row(BASE, 1, 0.8), row("a", 0, 0.1), row("a", 1, 0.3)]
    text = table(rows, [BASE, "a"])
    assert "| a | as it is | 2 | 20.0 [10.0, 30.0] |" in text and "40.0 [40.0, 40.0]" in text
    # Differences -60 and -50: mean -55, deviation 7.07, t(0.975, 1) = 12.706, half a width of 63.5.
    assert against_base(rows[2:], {0: rows[0], 1: rows[1]}, "chair_s") == "-55.0 [-118.5, +8.5]"
    assert "| a | as it is | 2 | -55.0 [-118.5, +8.5] |" in text
    # Words are no percent; a world without its base model is in no difference, a score that few runs have in few.
    assert against_base(rows[2:], {0: rows[0] | {"words": 42.0}}, "words") == "-2.0"
    assert against_base(rows[2:], {}, "words") == "" == against_base(rows[2:], {0: rows[0]}, "pope_f1")
    assert "pope_f1" in table([*rows, rows[2] | {"pope_f1": 0.7}], [BASE, "a"])


def test_the_goal_that_is_furthest_is_named() -> None:
    """Of two runs: CHAIR_S 2 and 4 % (mean 3, worst 4), POPE one half width below the base in one, two in the other."""
    base: dict[str, object] = {
        "recipe": BASE, "world": 0, "order": 0, "auroc": 0.0, "chair_s": 0.7, "chair_i": 0.2, "recall": 0.97,
        "words": 40.0, "repetition": 0.05, "pope_f1": 0.7, "pope_f1_low": 0.68,
    }  # fmt: skip
    good = base | {"recipe": "a", "chair_s": 0.02, "chair_i": 0.005, "recall": 0.965, "pope_f1": 0.68}
    runs = [base, good, good | {"order": 1, "chair_s": 0.04, "pope_f1": 0.66}]
    assert goal_lines(runs, ["a"]) == [" 1.50  a: POPE F1, within the base's interval"]
    short = good | {"recipe": "b", "words": 10.0}
    assert goal_lines([*runs, short], ["b", "a"])[1] == " 3.00  b: words, a quarter fewer"


def test_what_a_recipe_takes_of_what_was_mined() -> None:
    captions = [CaptionObjects(f"{image}.png", image, "", (), sample) for image in range(3) for sample in range(4)]
    mined = mined_by({"captions": 3, "images": 2, "format": {"agreement": True}, "neg_w_start": 1.0})
    assert [(r.image_id, r.sample) for r in mined.taken(captions)] == [(i, s) for i in range(2) for s in range(3)]
    assert mined.flags == ("--agreement=True",)
    assert [(r.image_id, r.sample) for r in mined_by({}).taken(captions)] == [
        (i, s) for i in range(3) for s in range(2)
    ]
    assert mined_by({}).name != mined_by({"format": {"agreement": True}}).name


def test_scripts_run_in_forks_and_say_why_they_failed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give an existing file with --score_data_path"):
        paths = ("--pos_neg_data_path", tmp_path / "p.json", "--sentence_data_path", tmp_path / "s.json")
        Scripts(1, ()).call("finetune.format_data", "--score_data_path", tmp_path / "nothing.jsonl", *paths)


def test_unknown_recipes_are_named() -> None:
    with pytest.raises(ArgumentError, match="no recipe nothing"):
        chosen_recipes(LeaderboardArguments(only="nothing"))


def test_the_list_is_of_flags_that_there_are() -> None:
    """So that an evening of runs does not end with a word that train.py does not know."""
    known = {field.name for group in GROUPS for field in fields(group)}
    formats = {field.name for field in fields(FormatArguments)}
    for recipe in chosen_recipes(LeaderboardArguments()).values():
        assert recipe.keys() - set(MINED) <= known and set(recipe.get("format") or {}) <= formats
