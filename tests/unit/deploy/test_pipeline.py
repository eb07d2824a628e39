"""The pipeline's plan and its notes: which step gets what, and what is done again. Scripts are stood in for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.args import parse
from common.arguments.blocks import STEPS
from common.errors import ArgumentError, DataError
from deploy.pipeline import Pipeline, arguments, main
from deploy.steps.config import read_config
from deploy.steps.contents import Contents
from deploy.steps.files import FILES, PLACES
from deploy.steps.plan import Planner, Run
from deploy.steps.scripts import Scripts

MINE = """
model: owl
owl_path: weights
seed: 5
caption: {image_dir_path: photos, captions_per_image: 2}
objects:
score: {image_dir_path: photos}
format:
train: {image_dir_path: photos, max_steps: 10, report_to: none}
caption_eval: {image_dir_path: photos, default_eval_samples: 4}
judge: {gold_objects_path: gold.json}
compare:
"""


def plan(text: str, folder: Path) -> dict[str, Run]:
    """Name -> run of a file with this text."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return {run.name: run for run in Planner(read_config(path), folder / "work").runs()}


def test_files_between_two_steps_need_no_name(tmp_path: Path) -> None:
    runs = plan(MINE, tmp_path)
    assert runs["objects"].values["caption_data_path"] == str(tmp_path / "work" / "captions.jsonl")
    assert runs["train"].values["pos_neg_data_path"] == runs["format"].values["pos_neg_data_path"]
    assert runs["caption unlearned"].values["ckpt_load_path"] == str(tmp_path / "work" / "trained")
    assert runs["compare"].values["first"] == runs["judge base"].values["result_path"]
    assert runs["compare"].values["second"] == runs["judge unlearned"].values["result_path"]


def test_own_answers_are_learnt_where_they_have_a_weight(tmp_path: Path) -> None:
    asked = MINE.replace("format:\n", "format:\nanswers: {image_dir_path: photos}\n")
    assert "gold_data_path" not in plan(asked, tmp_path)["train"].values
    runs = plan(asked.replace("max_steps: 10", "max_steps: 10, gold_w: 0.5"), tmp_path)
    assert runs["train"].values["gold_data_path"] == runs["answers"].values["answer_data_path"]
    assert list(runs).index("answers") < list(runs).index("train")


def test_images_of_the_training_are_left_out_for_both_models_alike(tmp_path: Path) -> None:
    for which in ("base", "unlearned"):
        values = plan(MINE, tmp_path)[f"caption {which}"].values
        assert values["pos_neg_data_path"] == str(tmp_path / "work" / "pos_neg.json") and values["sentence_data_path"]


def test_a_place_in_the_block_of_the_step_that_makes_a_file_holds_for_those_that_take_it(tmp_path: Path) -> None:
    runs = plan(MINE.replace("format:\n", "format: {pos_neg_data_path: here.json}\n"), tmp_path)
    assert runs["format"].makes[0] == Path("here.json")
    assert {runs[name].values["pos_neg_data_path"] for name in ("train", "caption base")} == {"here.json"}
    world = plan("draw: {output_dir: there}\ncaption:\n", tmp_path)
    assert world["caption"].values["image_dir_path"] == str(Path("there/train/images"))


def test_captions_of_ones_own_take_the_place_of_the_step(tmp_path: Path) -> None:
    own = MINE.replace("caption: {image_dir_path: photos, captions_per_image: 2}", "caption_data_path: mine.jsonl")
    runs = plan(own, tmp_path)
    assert "caption" not in runs and runs["objects"].values["caption_data_path"] == "mine.jsonl"


def test_what_nobody_makes_is_asked_for_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as error:
        plan("objects:\ntrain: {image_dir_path: photos}\n", tmp_path)
    text = str(error.value)
    assert "objects needs caption_data_path (from the step caption)" in text
    assert "train needs pos_neg_data_path (from the step format)" in text and "sentence_data_path" in text


def test_a_checkpoint_on_top_is_judged_beside_the_base(tmp_path: Path) -> None:
    runs = plan("llava_ckpt_load_path: mine\ncaption_eval: {image_dir_path: photos}\njudge:\ncompare:\n", tmp_path)
    assert list(runs) == ["caption base", "judge base", "caption unlearned", "judge unlearned", "compare"]
    assert runs["caption unlearned"].own["llava_ckpt_load_path"] == "mine"
    assert not any("ckpt_load" in name for name in runs["caption base"].values)
    text = Pipeline(read_config(tmp_path / "mine.yaml"), tmp_path).text()
    assert "ckpt_load_path" not in text


def test_a_checkpoint_under_the_models_own_flag_is_found(tmp_path: Path) -> None:
    own = MINE.replace("max_steps: 10", "max_steps: 10, owl_ckpt_save_path: here")
    runs = plan(own, tmp_path)
    assert runs["caption unlearned"].own["ckpt_load_path"] == "here" and "ckpt_save_path" not in runs["train"].values
    assert runs["train"].makes == (Path("here/trained.safetensors"),)


def test_captions_given_to_the_judge_are_judged_once(tmp_path: Path) -> None:
    text = "caption_eval_path: mine.jsonl\njudge: {gold_objects_path: g.json}\nllava_ckpt_load_path: x\n"
    assert list(plan(text, tmp_path)) == ["judge base"]


def test_benchmarks_are_asked_twice_and_compared(tmp_path: Path) -> None:
    text = "llava_ckpt_load_path: x\npope: {question_path: q, image_dir_path: photos}\ncompare:\n"
    runs = plan(text, tmp_path)
    assert list(runs) == ["pope base", "pope unlearned", "compare pope"]
    assert runs["pope base"].values["answers_save_path"] != runs["pope unlearned"].values["answers_save_path"]
    assert runs["compare pope"].values["second"] == runs["pope unlearned"].values["result_path"]


def test_the_resolved_file_gives_a_step_alone_the_same_values(tmp_path: Path) -> None:
    """Every script reads it as it reads its flags in the pipeline."""
    runs = plan(MINE, tmp_path)
    path = tmp_path / "pipeline.yaml"
    path.write_text(Pipeline(read_config(tmp_path / "mine.yaml"), tmp_path / "work").text(), encoding="utf-8")
    for run in runs.values():
        groups = parse(__import__(run.module, fromlist=["x"]).ARGUMENTS, "", arguments(run, path), step=run.step)
        found = {name: value for group in groups for name, value in vars(group).items()}
        for name, value in run.values.items():
            one = found[name][0] if isinstance(found[name], list | tuple) else found[name]
            assert str(one) == str(value), (run.name, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n", "holds no block of a step"),
        ("trian: {seed: 1}\n", r"unknown step trian; did you mean train\?"),
        ("caption: {sed: 1}\n", r"unknown key sed in the block caption; did you mean seed\?"),
        ("sed: 1\ncaption:\n", r"unknown key sed; did you mean seed\?"),
        ("caption: {infer_bs: many}\n", "infer_bs"),
        ("- caption\n", "must be a mapping"),
        ("caption: [\n", "not YAML"),
        ("caption: {seed: 1}\ncaption: {seed: 2}\n", "is not YAML: 'caption' stands twice"),
        ("caption: {seed: 1, seed: 2}\n", "is not YAML: 'seed' stands twice"),
    ],
)
def test_everything_is_refused_before_anything_runs(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=message):
        main(["--config", str(path), "--work_dir", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()


def test_cards_and_exports_get_the_results_and_the_page_the_scores(tmp_path: Path) -> None:
    runs = plan(MINE + "pope: {}\ncard:\nexport:\nbrowse: {image_dir_path: photos}\n", tmp_path)
    names = ["result_unlearned", "result_pope_unlearned", "result_base", "result_pope_base"]
    expected = [str(tmp_path / "work" / f"{name}.json") for name in names]
    assert runs["card"].values["result_paths"] == runs["export"].values["result_paths"] == expected
    assert runs["card"].makes == (tmp_path / "work" / "trained" / "README.md",)
    assert list(runs).index("compare") < list(runs).index("card") < list(runs).index("export")
    assert runs["browse"].values["score_data_path"] == runs["format"].values["score_data_path"]
    assert "result_paths" not in plan("model: owl\nexport: {ckpt_load_path: x}\n", tmp_path)["export"].values


def test_every_file_has_a_place_and_every_flag_is_its_steps() -> None:
    from common.arguments.blocks import flags_of

    for step, files in FILES.items():
        assert step in STEPS
        for flag, key in {**files.takes, **files.makes}.items():
            assert key in PLACES and flag in flags_of(step), (step, flag)
        assert files.restarts == ("restart" in flags_of(step)), step


Calls = list[list[str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calls]:
    """Runs the pipeline with scripts that write what they were given; returns the command lines of this call."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    calls: Calls = []
    fail: list[str] = []

    def stand_in(_scripts: Scripts, words: list[str], *_more: Any) -> int:
        calls.append(words)
        module, config = words[1], Path(words[words.index("--config") + 1])
        step = next(step for step, name in STEPS.items() if name == module)
        flags = dict(zip(words[4::2], words[5::2], strict=False))
        values = yaml.safe_load(config.read_text())[step] | {k.removeprefix("--"): v for k, v in flags.items()}
        if step in fail:
            return 1
        inputs = [values[flag] for flag in (*FILES[step].takes, "ckpt_load_path") if values.get(flag)]
        taken = [Contents().of(Path(value)) for value in inputs]
        for flag, key in FILES[step].makes.items():
            path = Path(values[flag]) / "trained.safetensors" if key == "trained" else Path(values[flag])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([step, taken, values.get("seed"), values.get("max_steps")]))
        return 0

    monkeypatch.setattr(Scripts, "run", stand_in)

    def call(text: str = MINE, failing: str = "", *flags: str) -> Calls:
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        calls.clear()
        fail[:] = [failing] if failing else []
        if failing:
            with pytest.raises(DataError, match=f"the step '.*{failing.split('_')[0]}.*' failed; run it alone"):
                main(["--config", "mine.yaml", "--work_dir", "work", *flags])
        else:
            main(["--config", "mine.yaml", "--work_dir", "work", *flags])
        return list(calls)

    return call


def steps_of(calls: Calls) -> list[str]:
    """Modules that were run, in order."""
    return [words[1].split(".")[1] for words in calls]


ALL = ["caption", "object", "clip", "format_data", "eval_caption", "eval_auto", "train", "eval_caption", "eval_auto"]


def test_a_second_call_does_nothing(world: Callable[..., Calls]) -> None:
    assert steps_of(world()) == [*ALL, "compare"]
    assert world() == []


def test_a_failed_step_is_continued_and_the_steps_before_it_are_not_repeated(world: Callable[..., Calls]) -> None:
    assert steps_of(world(MINE, "train"))[-1] == "train"
    again = world()
    assert steps_of(again) == ["train", "eval_caption", "eval_auto", "compare"]
    assert not any("--restart" in words for words in again)


def test_a_changed_value_makes_its_step_and_what_follows_from_it_out_of_date(world: Callable[..., Calls]) -> None:
    world()
    again = world(MINE.replace("max_steps: 10", "max_steps: 20"))
    assert steps_of(again) == ["train", "eval_caption", "eval_auto", "compare"]
    assert "--restart" in again[0] and "--restart" in again[1] and "--restart" not in again[2]


def test_a_value_that_changes_no_result_makes_nothing_out_of_date(world: Callable[..., Calls]) -> None:
    world()
    assert world(MINE.replace("report_to: none", "report_to: tensorboard")) == []


def test_what_follows_is_kept_where_the_file_between_came_out_the_same(world: Callable[..., Calls]) -> None:
    """As with make, but by contents: another way of spelling a path, or a step done again with the same result."""
    world()
    assert world(MINE.replace("photos", "./photos")) == []
    Path("work/captions.jsonl").unlink()
    assert steps_of(world()) == ["caption"]


def test_a_new_image_is_noticed(world: Callable[..., Calls]) -> None:
    world()
    Path("photos/2.jpg").write_bytes(b"2")
    assert steps_of(world()) == [*ALL, "compare"]


def test_a_file_that_was_changed_by_hand_is_kept(
    world: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    world()
    Path("work/objects.jsonl").write_text("mine")
    capsys.readouterr()
    assert steps_of(world())[0] == "clip"
    assert "objects: up to date; changed by hand and kept: work/objects.jsonl" in capsys.readouterr().err
    assert Path("work/objects.jsonl").read_text() == "mine"


def test_thresholds_beside_a_file_count(world: Callable[..., Calls]) -> None:
    world()
    Path("work/scores.jsonl.manifest.json").write_text('{"thresholds": {"hallucinated": 1}, "date": 1}')
    assert steps_of(world())[0] == "format_data"
    Path("work/scores.jsonl.manifest.json").write_text('{"thresholds": {"hallucinated": 1}, "date": 2}')
    assert world() == []


def test_all_anew(world: Callable[..., Calls]) -> None:
    world()
    assert steps_of(world(MINE, "", "--restart")) == [*ALL, "compare"]


def test_a_dry_run_says_what_would_be_done(world: Callable[..., Calls], capsys: pytest.CaptureFixture[str]) -> None:
    assert world(MINE, "", "--dry_run") == [] and not Path("work").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and all("to be done" in line for line in lines)
    world()
    capsys.readouterr()
    world(MINE.replace("max_steps: 10", "max_steps: 20"), "", "--dry_run")
    verdicts = {line[:20].strip(): line[20:37].strip() for line in capsys.readouterr().out.splitlines()}
    assert verdicts["train"] == "out of date" and verdicts["format"] == "up to date"
    assert verdicts["caption unlearned"] == verdicts["compare"] == "if input changes"


def test_a_foreign_notes_file_is_refused(world: Callable[..., Calls]) -> None:
    Path("work").mkdir()
    Path("work/pipeline.json").write_text('{"mine": 1}')
    with pytest.raises(DataError, match=r"pipeline\.json is not the pipeline's"):
        world()
    assert Path("work/pipeline.json").read_text() == '{"mine": 1}'


def test_a_file_of_ones_own_is_not_written_over_by_the_resolved_one(world: Callable[..., Calls]) -> None:
    """Neither the pipeline's own file, whose name the resolved one would have, nor somebody else's."""
    Path("work").mkdir()
    Path("work/pipeline.yaml").write_text(MINE)
    with pytest.raises(ArgumentError, match=r"pipeline\.yaml is an input of this command \(from --config\)"):
        main(["--config", "work/pipeline.yaml", "--work_dir", "work"])
    with pytest.raises(DataError, match=r"pipeline\.yaml is there already"):
        world()
    assert {path.name: path.read_text() for path in Path("work").iterdir()} == {"pipeline.yaml": MINE}


@pytest.mark.parametrize("name", ["scores.jsonl", "pos_neg.json", "trained/mine", "result_base.json", "exported/x"])
def test_a_file_of_ones_own_at_a_later_step_is_told_before_the_first(world: Callable[..., Calls], name: str) -> None:
    """Mining takes hours; and a step that was begun is left to its script."""
    mine = Path("work") / name
    mine.parent.mkdir(parents=True)
    mine.write_text('{"mine": 1}')
    with pytest.raises(DataError, match=f"the step '.*' could not write: .*{name.split('/')[0]} is there already"):
        world(MINE + "export:\n")
    assert [path for path in Path("work").rglob("*") if path.is_file()] == [mine]
    mine.unlink()
    if mine.parent != Path("work"):
        mine.parent.rmdir()
    assert len(world(MINE + "export:\n")) == len(ALL) + 2
    Path("work/scores.jsonl").write_text("changed by hand")
    assert steps_of(world(MINE + "export:\n"))[0] == "format_data"
