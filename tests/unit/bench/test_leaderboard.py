"""The leaderboard's own arithmetic: noise, rows, tables."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from pathlib import Path

import pytest

from common.errors import ArgumentError, DataError
from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from common.outputs.settings import note_settings
from common.relevance.noise import noisy
from finetune.format_data import FormatArguments
from finetune.setup.arguments import GROUPS
from insight.scores.detector_quality import auroc, label_scores
from tests.bench.board.recipes import MINED, mined_by
from tests.bench.board.rows import Run, check_done, key_of, mend_end, read_rows, rows_of
from tests.bench.board.scripts import Scripts
from tests.bench.board.table import BASE, SCORES, against_base, goal_lines, table
from tests.bench.board.worlds import Worlds, blurred_to
from tests.bench.leaderboard import Board, LeaderboardArguments, chosen_recipes, runs_of

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
    rows.write_text(line("a", 3, 1, auroc=0.78) + '{"recipe": "a", "wor')
    assert [key_of(row) for row in read_rows(rows)] == [Run("a", 3, 1, 0.78)] and Run("a", 3, 1, 0.78) in runs
    mend_end(rows)  # else the next row would stand behind the torn one
    with rows.open("a") as file:
        file.write(line("a", 4).rstrip("\n"))  # a row that lacks only its line end is one
    mend_end(rows)
    with rows.open("a") as file:
        file.write(line("a", 5))
    assert [key_of(row).world for row in read_rows(rows)] == [3, 4, 5]


def test_a_table_of_nothing_is_refused_and_a_torn_row_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    for text in (None, "", '{"recipe": "a", "wor', line("b", 3)):
        if text is not None:
            rows.write_text(text)
        with pytest.raises(DataError, match=r"no row of base, a in .*rows.jsonl .*by the same command without --table"):
            rows_of(rows, [BASE, "a"])
        assert ("line 1 is unfinished" in capsys.readouterr().err) == (text is not None and text.endswith("wor"))
    assert [row["recipe"] for row in rows_of(rows, ["b"])] == ["b"]


def line(recipe: str, world: int, order: int = 0, auroc: float = 0.0, **more: object) -> str:
    """Of a file of rows."""
    row = {"recipe": recipe, "world": world, "order": order, "auroc": auroc, **dict.fromkeys(SCORES, 0.5), **more}
    return json.dumps(row) + "\n"


def board(folder: Path, flags: dict[str, object], pope_images: int = 0, sizes: tuple[int, int] = (9, 3)) -> Board:
    """With one recipe, r."""
    return Board(Worlds(folder, Scripts(1, ()), sizes, 4), {"r": flags}, pope_images)


def test_rows_of_something_else_are_refused_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, run = tmp_path / "rows.jsonl", Run("r", 5, 0, 0.0)
    made = board(tmp_path, {"neg_w_start": 1.0}).made_of(run)
    rows.write_text(line("r", 5, made_of=made) + line(BASE, 5))
    now = {run: made, Run(BASE, 5, 0, 0.0): board(tmp_path, {}).made_of(Run(BASE, 5, 0, 0.0))}
    assert check_done(read_rows(rows), now, rows) == set(now)
    assert "1 rows" in capsys.readouterr().err  # the base model's row does not say what it was made of
    others = {
        "neg_w_start 1.0 and 2.0": board(tmp_path, {"neg_w_start": 2.0}),
        "captions 2 and 3": board(tmp_path, {"neg_w_start": 1.0, "captions": 3}),
        "images 9 and 8": board(tmp_path, {"neg_w_start": 1.0}, sizes=(8, 3)),
        "eval_images 3 and 4": board(tmp_path, {"neg_w_start": 1.0}, sizes=(9, 4)),
        "POPE was not asked": board(tmp_path, {"neg_w_start": 1.0}, pope_images=5),
    }
    for words, other in others.items():
        with pytest.raises(DataError, match=rf"r-world5-order0 was made of something else .*{words}"):
            check_done(read_rows(rows), {run: other.made_of(run)}, rows)
    # Nor do they stand in one table.
    for more, words in (
        (line("r", 6, made_of=others["neg_w_start 1.0 and 2.0"].made_of(run)), "do not belong in one table: neg_w"),
        (line(BASE, 6, made_of=others["eval_images 3 and 4"].made_of(Run(BASE, 6, 0, 0.0))), "in one table: eval_im"),
        (line("r", 5), "twice"),
        ("{}\n", "rows.jsonl:3: no row"),
    ):
        rows.write_text(line("r", 5, made_of=made) + line(BASE, 5) + more)
        with pytest.raises(DataError, match=words):
            read_rows(rows)


def test_a_world_that_is_smaller_than_asked_is_refused(tmp_path: Path) -> None:
    worlds = Worlds(tmp_path, Scripts(1, ()), (9, 3), 4)
    world = worlds.world(5)
    for folder, images in ((world.train_images, 9), (world.eval_images, 3)):
        folder.mkdir(parents=True)
        for number in range(images):
            (folder / f"{number}.png").touch()
    note_settings(world.captions, {"captions_per_image": 4})
    worlds.check(5)
    for sizes in ((10, 3), (8, 3), (9, 2)):
        with pytest.raises(DataError, match="was mined with --"):
            replace(worlds, images=sizes).check(5)
    with pytest.raises(DataError, match="--captions 4, and 6"):
        replace(worlds, captions=6).check(5)


@pytest.mark.parametrize("worlds", ["", "a", "1,", "1,1", "-1", "1.5", "4294967296"])
def test_worlds_are_seeds_each_once(worlds: str) -> None:
    with pytest.raises(ArgumentError, match="--worlds"):
        runs_of(LeaderboardArguments(worlds=worlds), ["a"])


@pytest.mark.parametrize("auroc", [0.3, 0.5, 1.0, 7.0])
def test_an_auroc_is_better_than_chance(auroc: float) -> None:
    with pytest.raises(ArgumentError, match="--auroc"):
        runs_of(LeaderboardArguments(auroc=auroc), ["a"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {neg_w_strat: 1}", "recipe a: unknown flag --neg_w_strat"),
        ("a: {neg_w_start: much}", "recipe a: .*neg_w_start"),
        ("a: {format: {agreemnt: true}}", "recipe a: unknown flag --agreemnt"),
        ("a: {answers: [1]}", "recipe a: answers must be a mapping"),
        ("a: {captions: 0}", "recipe a: captions must be"),
        ("a: {images: 901}", "recipe a: takes 901 images"),
        ("a: 3", "recipe a: must be a mapping"),
        ("base: {}", "cannot name a recipe"),
        ("../a: {}", "cannot name a recipe"),
        ("[a]", "must be a mapping"),
        ("a: {", "is not YAML"),
        ("a: {beta: 1}\na: {beta: 2}", "'?a'? stands twice"),
        ("a: {keep: best, valid_data_split: 0}", "recipe a: --valid_data_split 0"),
        ("a: {repair_w: -1}", "recipe a: --repair_w is '-1'"),
        ("a: {seed: 3}", "recipe a: --seed is given by the leaderboard"),
        ("a: {llava_path: /elsewhere}", "recipe a: --llava_path is given by the leaderboard"),
        ("a: {format: {pos_neg_data_path: x}}", "recipe a: --pos_neg_data_path is given by the leaderboard"),
        ("a: {dry_run: true}", "recipe a: --dry_run is given by the leaderboard"),
        ("a: {lora_rank: 4, trainable: decoder}", "recipe a: --lora_rank is of low-rank adapters"),
    ],
)
def test_recipes_that_cannot_be_run_are_refused_before_anything_is(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=words):
        chosen_recipes(LeaderboardArguments(recipes=str(tmp_path / "r.yaml")))


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
