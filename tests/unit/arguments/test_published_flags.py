"""Flags of the published code: taken under their present names with one line, or told what replaces them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.args import parse
from common.arguments.blocks import STEPS, flags_of
from common.arguments.fields import options
from common.arguments.published import FATES, VALUE
from common.errors import ArgumentError
from common.paths import ROOT
from evaluate.eval_mme import ARGUMENTS as MME
from finetune.train import ARGUMENTS as TRAIN
from insight.object import ARGUMENTS as OBJECTS

TABLE = ROOT / "docs" / "published_flags.md"


def values(groups: tuple[object, ...]) -> dict[str, object]:
    """All values by flag."""
    return {name: value for group in groups for name, value in vars(group).items()}


@pytest.mark.parametrize(
    ("groups", "words", "found"),
    [
        (TRAIN, ["--llava_data_size_k", "10"], {"gold_size": 10_000}),
        (TRAIN, ["--print_per_n_step", "7", "--logging_steps", "9"], {"logging_steps": 9}),
        (TRAIN, ["--vqa-image-dir=here"], {"gold_image_dir_path": "here"}),
        (OBJECTS, ["--llama_path", "here"], {"extractor": "llm", "extractor_model": "here"}),
        (MME, ["--generate_length_penalty", "-1.5"], {"length_penalty": -1.5}),
        (MME, ["--default_eval_samples", "1600"], {"end_pos": 1600}),
        (MME, ["--mme_data_path", "here"], {"question_path": "here", "image_dir_path": "here"}),
        (MME, ["--generate_temperature", "0", "--infer_retry", "3"], {}),
    ],
)
def test_a_flag_with_a_meaning_is_taken(
    groups: tuple[type, ...], words: list[str], found: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = values(parse(groups, "", words))
    assert {name: parsed[name] for name in found} == found
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert len(said) == sum(w.partition("=")[0].lstrip("-").replace("-", "_") in FATES for w in words)


@pytest.mark.parametrize(
    ("groups", "words", "message"),
    [
        (TRAIN, ["--skip_oom_batch"], "--tokens_per_batch bounds the memory"),
        (MME, ["--generate_temperature", "0.7"], "beam search and greedy decoding have none"),
        (MME, ["--llama_path", "x"], "is --extractor --extractor_model, which this script does not take"),
        (TRAIN, ["--gold_clip_score", "30"], "fixed at the published 40"),
        (TRAIN, ["--llava_data_size_k", "ten"], "--gold_size is 'ten000'; give a whole number"),
    ],
)
def test_a_flag_without_one_says_what_replaces_it(groups: tuple[type, ...], words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse(groups, "", words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_translated_like_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("print_per_n_step: 7\nno_first_eval: true\n")
    assert values(parse(TRAIN, "", ["--config", str(path)]))["logging_steps"] == 7
    path.write_text("skip_oom_batch: true\n")
    with pytest.raises(ArgumentError, match=r"old\.yaml: --skip_oom_batch"):
        parse(TRAIN, "", ["--config", str(path)])


def test_every_replacement_is_a_flag_of_some_step_and_every_fate_is_told() -> None:
    everywhere = {name for step in STEPS for name in flags_of(step)}
    for name, fate in FATES.items():
        assert fate.now or fate.why, name
        assert set(fate.now or {}) <= everywhere, name
        assert all(VALUE in template or template == "llm" for template in (fate.now or {}).values())
    assert not set(FATES) & (set(options(TRAIN)) | set(options(OBJECTS)) | set(options(MME)))


def row(name: str) -> str:
    """The line of the table."""
    fate = FATES[name]
    here = " ".join(f"`--{new} {text}`" for new, text in (fate.now or {}).items()).replace(VALUE, "V")
    return f"| `--{name}` | {here or ('passed over' if fate.harmless else '-')} | {fate.why} |"


def test_the_table_for_readers_is_the_table_in_the_code() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `--")]
    assert rows == [row(name) for name in FATES]
