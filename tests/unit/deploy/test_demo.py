"""The demo around its steps: the table, the examples, the commands, what it refuses. No step is run."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.args import parse
from common.cli import run
from common.errors import DataError
from common.files.storage import read_json
from common.mini_world import GREEDY, SAMPLING
from common.paths import MINI_CLIP
from deploy import demo as script
from deploy.demo import Demo, DemoArguments, examples, main, report, table
from deploy.steps.plan import Run

BASE = {
    "chair_s": 0.72,
    "chair_i": 0.18,
    "recall": 0.98,
    "words": 44.3,
    "bleu_1": 0.3,
    "bleu_4": 0.1,
    "distinct_2": 0.2,
    "repetition": 0.5,
}
AFTER = {
    "chair_s": 0.2,
    "chair_i": 0.05,
    "recall": 0.97,
    "words": 40.0,
    "bleu_1": 0.35,
    "bleu_4": 0.1,
    "distinct_2": 0.2,
    "repetition": 0.5,
}


def result(scores: dict[str, float], width: float = 0.03) -> dict[str, Any]:
    """A result with an interval for CHAIR_S and words alone."""
    bounds = {"chair_s": [scores["chair_s"] - width, scores["chair_s"] + width], "words": [scores["words"] - 1, 99.0]}
    return {"scores": scores, "intervals": bounds}


PAIRED = {"chair_s": {"difference": -0.52, "low": -0.58, "high": -0.46}}


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """A demo in a folder of its own."""
    return Demo(DemoArguments(output_dir=str(tmp_path)))


def write_captions(demo: Demo, which: str, captions: list[str]) -> None:
    """A captions file of evaluation images 1.png, 2.png ..."""
    lines = [json.dumps({"image": f"{i}.png", "caption": text}) + "\n" for i, text in enumerate(captions, start=1)]
    demo.caption_file(which).write_text("".join(lines), encoding="utf-8")


def row(text: str, name: str) -> str:
    """A line of the table, its spaces single."""
    (line,) = (line for line in text.splitlines() if line.split()[:1] == [name])
    return " ".join(line.split())


def test_rates_are_in_percent_lengths_are_not() -> None:
    lines = table(result(BASE), result(AFTER), PAIRED)
    assert row(lines, "chair_s") == (
        "chair_s 72.0 % [69.0 %, 75.0 %] 20.0 % [17.0 %, 23.0 %] -52.0 % [-58.0 %, -46.0 %]"
    )
    assert row(lines, "words") == "words 44.3 [43.3, 99.0] 40.0 [39.0, 99.0] -4.3"


def test_without_a_paired_interval_the_plain_difference_stands_there() -> None:
    assert row(table(result(BASE), result(AFTER), {}), "chair_i") == "chair_i 18.0 % 5.0 % -13.0 %"


def test_the_table_has_every_score_once_and_equal_columns() -> None:
    head, *lines = table(result(BASE), result(AFTER), PAIRED).splitlines()
    assert [line.split()[0] for line in lines] == list(script.SHOWN)
    assert head.split() == ["base", "unlearned", "difference"]
    assert {len(line) for line in lines if len(line) <= len(head)} == {len(head)}


def test_examples_are_the_first_that_changed(demo: Demo) -> None:
    write_captions(demo, "base", ["same", "a dog", "b", "c", "d"])
    write_captions(demo, "unlearned", ["same", "a cat", "b!", "c!", "d!"])
    found = examples(demo)
    assert [e["image"] for e in found] == ["2.png", "3.png", "4.png"]
    assert found[0] == {"image": "2.png", "before": "a dog", "after": "a cat"}


def test_captions_of_different_images_are_not_compared(demo: Demo) -> None:
    write_captions(demo, "base", ["a", "b"])
    write_captions(demo, "unlearned", ["a"])
    with pytest.raises(ValueError, match="shorter"):
        examples(demo)


def test_the_report_leaves_results_and_examples(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    for which, scores in (("base", BASE), ("unlearned", AFTER)):
        demo.result_file(which).write_text(json.dumps(result(scores)))
        write_captions(demo, which, [f"{which} caption"])
    (demo.folder / "comparison.json").write_text(json.dumps({"differences": PAIRED}))
    demo.seconds = {"draw": 3.2, "train": 60.9}
    report(demo)
    kept = read_json(demo.folder / "results.json")
    assert kept["base"]["scores"] == BASE and kept["unlearned"]["scores"] == AFTER
    assert kept["seconds"] == demo.seconds
    assert read_json(demo.folder / "examples.json")[0]["before"] == "base caption"
    printed = capsys.readouterr().out
    assert "before: base caption" in printed and "-52.0 %" in printed and "total 64 s" in printed


@pytest.mark.parametrize("name", ["results.json", "examples.json", "pipeline.yaml", "pipeline.json"])
def test_a_file_of_somebody_elses_is_named_before_anything_runs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('[{"mine": 1}]')
    with pytest.raises(DataError, match=name):
        main(["--output_dir", str(tmp_path)])
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {name: '[{"mine": 1}]'}


def test_an_unknown_recipe_is_refused_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in ("paper", "bounded"):
        (recipes / f"mini_{name}.yaml").write_text("preset: paper\n")
    monkeypatch.setattr(script, "RECIPES", recipes)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--recipe", "bold", "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert "unknown recipe 'bold' (from --recipe); known: bounded, paper" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_recipes_and_seeds_have_folders_of_their_own() -> None:
    names = [Demo(DemoArguments(seed=s, recipe=r)).folder.name for s in (0, 1) for r in ("bounded", "paper")]
    assert names == ["seed0", "seed0-paper", "seed1", "seed1-paper"]


@pytest.fixture
def steps(demo: Demo) -> dict[str, Run]:
    """Name -> run, every flag of which its script has read."""
    return {run.name: run for run in demo.pipeline().runs()}


def test_the_steps_are_those_of_the_method(steps: dict[str, Run]) -> None:
    judged = [f"{step} {which}" for which in ("base", "unlearned") for step in ("caption", "judge")]
    mined, shown = ["draw", "caption", "objects", "scores", "answers", "format"], ["compare", "report", "card"]
    expected = [*mined, *judged[:2], "train", *judged[2:], *shown]
    assert list(steps) == expected


def test_what_one_step_makes_the_next_one_takes(demo: Demo, steps: dict[str, Run]) -> None:
    def value(step: str, flag: str) -> str:
        return str(steps[step].values[flag])

    assert value("objects", "caption_data_path") == value("caption", "caption_data_path")
    assert value("scores", "object_data_path") == value("objects", "object_data_path")
    assert value("format", "score_data_path") == value("scores", "score_data_path")
    assert value("train", "pos_neg_data_path") == value("format", "pos_neg_data_path")
    assert value("train", "gold_data_path") == value("answers", "answer_data_path")
    assert value("train", "image_dir_path") == value("caption", "image_dir_path") == str(demo.world.train_images)
    assert value("caption unlearned", "ckpt_load_path") == value("train", "ckpt_save_path")
    assert "ckpt_load_path" not in steps["caption base"].values
    assert value("scores", "clip_model") == str(MINI_CLIP)
    assert value("scores", "annotation_path") == str(demo.world.train_annotations)
    for which in ("base", "unlearned"):
        assert value(f"caption {which}", "image_dir_path") == str(demo.world.eval_images)
        assert value(f"judge {which}", "caption_eval_path") == str(demo.caption_file(which))
        assert value(f"judge {which}", "annotation_path") == str(demo.world.eval_annotations)
        assert value(f"judge {which}", "result_path") == str(demo.result_file(which))


def test_seed_sizes_and_recipe_reach_their_steps(tmp_path: Path) -> None:
    args = DemoArguments(seed=4, recipe="paper", train_images=30, eval_images=9, output_dir=str(tmp_path))
    steps = {run.name: run.values for run in Demo(args).pipeline().runs()}
    assert (steps["draw"]["train_images"], steps["draw"]["eval_images"]) == ("30", "9")
    assert {steps[name]["seed"] for name in ("draw", "caption", "train")} == {"4"}
    assert (steps["train"]["objective"], steps["train"]["max_steps"]) == ("efuf", "100")
    assert "beta" not in steps["train"] and "answers" not in steps and "gold_data_path" not in steps["train"]


def test_other_recipes_learn_from_the_scores_alone(tmp_path: Path) -> None:
    """Of as many captions as the demo's own."""
    own, paper = (
        {run.name: run.values for run in Demo(DemoArguments(recipe=name, output_dir=str(tmp_path))).pipeline().runs()}
        for name in ("bounded", "paper")
    )
    assert (own["format"]["agreement"], own["format"]["unlearn_target"]) == ("true", "opened")
    assert (paper["format"]["agreement"], paper["format"]["unlearn_target"]) == ("false", "subsentence")
    numbers = [int(s["draw"]["train_images"]) * int(s["caption"]["captions_per_image"]) for s in (own, paper)]
    assert numbers[0] == numbers[1]


def test_captions_are_made_as_for_the_mini_world_elsewhere(steps: dict[str, Run]) -> None:
    """`make quickstart` and the demo show the same captions, but for the number of those that are mined."""

    def flags(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
        given = [name.removeprefix("--") for name in names if name.startswith("--") and name != "--captions_per_image"]
        return {name: str(values[name]).lower() for name in given}

    for made, words in ((steps["caption"], SAMPLING), (steps["caption base"], GREEDY)):
        expected = dict(itertools.pairwise(words))
        found = flags(made.values, words)
        assert all(found[name] in (expected.get(f"--{name}"), "true") for name in found)


def test_the_file_holds_the_bounded_recipe() -> None:
    """So that it can be run by the pipeline as it stands."""
    values = yaml.safe_load(script.FILE.read_text())["train"]
    recipe = yaml.safe_load((script.RECIPES / "mini_bounded.yaml").read_text())
    assert values == {**recipe, "report_to": "none", "seed": 0}


def test_its_defaults_are_small() -> None:
    (args,) = parse([DemoArguments], "", [])
    assert args.recipe == "bounded" and args.seed == 0
    values = yaml.safe_load(script.FILE.read_text())
    assert args.train_images is None
    assert values["draw"]["train_images"] * values["caption"]["captions_per_image"] <= 2700
