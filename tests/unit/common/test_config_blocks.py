"""A `--config` file with blocks of several steps: what a script takes of it, and what is refused."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from common.args import ModelArguments, RunArguments, parse
from common.arguments.blocks import STEPS, flags_of
from common.errors import ArgumentError

PIPELINE = """
model: owl
owl_path: here
seed: 3
train:
  train_lr: 0.1
  seed: 5
caption:
  seed: 7
judge:
"""
GROUPS = (ModelArguments, RunArguments)


def read(text: str, folder: Path, step: str | None = "caption", *flags: str) -> tuple[Any, ...]:
    """Both groups, from a file with this text."""
    path = folder / "all.yaml"
    path.write_text(text, encoding="utf-8")
    return parse(GROUPS, "", ["--config", str(path), *flags], step=step)


def test_a_script_takes_shared_values_and_its_own_block_which_wins(tmp_path: Path) -> None:
    model, run = read(PIPELINE, tmp_path)
    assert (model.model, model.owl_path, run.seed) == ("owl", "here", 7)


def test_without_a_block_of_its_own_it_takes_the_shared_values(tmp_path: Path) -> None:
    for step in ("objects", "judge", None):
        assert read(PIPELINE, tmp_path, step)[1].seed == 3


def test_the_command_line_wins_over_the_block(tmp_path: Path) -> None:
    assert read(PIPELINE, tmp_path, "caption", "--seed", "9")[1].seed == 9


def test_shared_values_of_other_steps_are_passed_over(tmp_path: Path) -> None:
    assert read("train_lr: 0.1\nseed: 2\njudge: {}\n", tmp_path)[1].seed == 2


def test_a_file_without_blocks_is_of_one_script(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"all\.yaml: unknown key train_lr"):
        read("train_lr: 0.1\nseed: 2\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {seed: 1}\n", r"unknown step trian; did you mean train\?"),
        ("bake: {seed: 1}\n", "unknown step bake; steps: .*caption, objects"),
        ("train: fast\n", "train is a step; its values stand below it"),
        ("caption: {sed: 1}\n", r"unknown key sed in the block caption; did you mean seed\?"),
        ("caption: {train_lr: 1}\n", "unknown key train_lr in the block caption"),
        ("sed: 1\ncaption: {}\n", r"unknown key sed; did you mean seed\?"),
        ("train_lrr: 1\ncaption: {}\n", r"unknown key train_lrr; did you mean train_lr\?"),
        ("3: {a: 1}\n", "unknown step 3"),
        ("3: 1\ncaption: {}\n", "unknown key 3"),
    ],
)
def test_what_no_step_knows_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        read(text, tmp_path)


def test_every_step_is_a_script_with_flags_and_no_flag_is_named_like_a_step() -> None:
    for step, module in STEPS.items():
        assert callable(importlib.import_module(module).main)
        assert flags_of(step) and not flags_of(step) & STEPS.keys()


@pytest.mark.parametrize("step", list(STEPS))
def test_every_script_accepts_a_file_of_all_steps(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own block reaches it, and nothing else does."""
    path = tmp_path / "all.yaml"
    path.write_text("seed: 3\nresult_path: r.json\n" + "".join(f"{name}:\n" for name in STEPS), encoding="utf-8")
    module = importlib.import_module(STEPS[step])

    class Parsed(Exception):
        pass

    def stop(*args: Any, **more: Any) -> None:
        assert more["step"] == step
        groups = parse(*args, **more)
        values = {key: value for group in groups for key, value in vars(group).items()}
        assert values.get("seed", 3) == 3 and values.get("result_path", "r.json") == "r.json"
        raise Parsed

    monkeypatch.setattr(module, "parse", stop)
    monkeypatch.setattr("sys.argv", [step, "--config", str(path)])
    with pytest.raises(Parsed):
        module.main()
