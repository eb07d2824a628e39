"""Every script looks at its own outputs before it makes what the mini world lacks, which takes minutes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from common import mini_world
from common.cli import run
from common.errors import UserError

OUTPUTS = [
    ("insight.caption", "caption_data_path"),
    ("insight.object", "object_data_path"),
    ("insight.clip", "score_data_path"),
    ("insight.clip", "figure_path"),
    ("insight.answer", "answer_data_path"),
    ("insight.browse", "page_path"),
    ("finetune.format_data", "pos_neg_data_path"),
    ("finetune.format_data", "sentence_data_path"),
    ("finetune.format_data", "repaired_data_path"),
    ("finetune.train", "llava_ckpt_save_path"),
    ("evaluate.eval_caption", "caption_eval_path"),
    ("evaluate.eval_auto", "result_path"),
    ("evaluate.eval_pope", "answers_save_path"),
    ("evaluate.eval_pope", "result_path"),
]


class MadeFirstError(UserError):
    """A file of the mini world was about to be made."""


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mini world without a file."""

    def make(path: Path) -> None:
        raise MadeFirstError(f"would make {path.name}")

    monkeypatch.setattr(mini_world.MiniWorld.__init__, "__defaults__", (tmp_path / "world",))
    monkeypatch.setattr(mini_world, "_make", make)
    return tmp_path / "world"


def said(module: str, argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one error of a script."""
    monkeypatch.setattr(sys, "argv", [module, *argv])
    with pytest.raises(SystemExit) as stop:
        run(importlib.import_module(module).main)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(("module", "flag"), OUTPUTS)
def test_an_output_that_may_not_be_written_is_refused_first(
    module: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, foreign = tmp_path / "folder", tmp_path / "foreign.txt"
    (folder / "mine").mkdir(parents=True)
    foreign.write_text("a diary\n")
    for target in (folder, foreign, foreign / "below.json"):
        error = said(module, [f"--{flag}", str(target)], monkeypatch, capsys)
        assert "would make" not in error and (target.name in error or foreign.name in error)
    assert foreign.read_text() == "a diary\n"
    new = tmp_path / "new" / "target.json"
    assert "would make" in said(module, [f"--{flag}", str(new)], monkeypatch, capsys)


@pytest.mark.parametrize("name", ["objects", "scores", "own_answers"])
def test_records_whose_source_is_gone_are_not_preceded_by_making_it_again(
    name: str, empty_world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be of another file, or complete; with --restart both are made anew."""
    module = {"objects": "insight.object", "scores": "insight.clip", "own_answers": "insight.answer"}[name]
    target: Path = getattr(mini_world.MiniWorld(), name)
    records = {
        "objects": '{"image": "1.png", "image_id": 1, "caption": "A dog.", "objects": []}\n',
        "own_answers": '{"question_id": "1", "image": "1.png", "question": "Is it?", "answer": "No"}\n',
    }
    empty_world.mkdir()
    target.write_text(records.get(name, records["objects"]))
    target.with_name(target.name + ".settings.json").write_text(f'{{"step": "{module}"}}')
    assert "holds records already" in said(module, [], monkeypatch, capsys)
    assert "would make" in said(module, ["--restart"], monkeypatch, capsys)
