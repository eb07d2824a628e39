"""Values of a YAML file go through the checks of the command line: types, choices, ranges; the message is the same."""

from __future__ import annotations

import importlib
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.args import RunArguments, flag, parse
from common.errors import ArgumentError

CASES = Path(__file__).parent / "config_values"


def groups_of(module: str) -> Sequence[type]:
    """All argument groups of a script."""
    found: Sequence[type] = importlib.import_module(module).ARGUMENTS
    return found


@pytest.mark.parametrize(
    ("case", "module", "words", "message"),
    [
        ("parser", "evaluate.eval_mme", ["--parser", "oficial"], "--parser is 'oficial'; give official or lmms"),
        ("cm", "evaluate.eval_auto", ["--chair_mode", "Paper"], "did you mean paper?"),
        ("float", "insight.caption", ["--infer_bs", "8.0"], "--infer_bs is '8.0'; give a whole number from 1"),
        ("list", "evaluate.eval_gqa", ["--question_path", "a", "b"], "--question_path has 2 values (a, b); give one"),
        ("pairing", "evaluate.eval_gqa", ["--pairing", "lines"], "give id or line; did you mean line?"),
        ("obj", "finetune.train", ["--objective", "npoo"], "did you mean npo?"),
        ("null", "finetune.train", ["--seed"], "--seed has no value; give a whole number from 0"),
        ("model", "finetune.train", ["--model", "lava"], "did you mean llava?"),
    ],
)
def test_a_wrong_value_gets_the_line_of_the_command_line(
    case: str, module: str, words: list[str], message: str
) -> None:
    groups = groups_of(module)
    path = CASES / f"{case}.yaml"
    with pytest.raises(ArgumentError) as typed:
        parse(groups, "", words)
    with pytest.raises(ArgumentError) as read:
        parse(groups, "", ["--config", str(path)])
    assert message in str(typed.value)
    assert str(read.value).endswith(f"{path.name}: {typed.value}")


def test_no_in_quotes_is_no() -> None:
    for word in ("no", "No", "off", "false", "0"):
        (args,) = parse([RunArguments], "", ["--dry_run", word])
        assert args.dry_run is False
    (args,) = parse([RunArguments], "", ["--config", str(CASES / "bool.yaml")])
    assert args.dry_run is False


def test_values_that_are_right_are_taken() -> None:
    train = parse(groups_of("finetune.train"), "", ["--config", str(CASES / "lr.yaml")])
    found = {name: value for group in train for name, value in vars(group).items()}
    assert (found["train_lr"], found["max_steps"], found["report_to"]) == (1e-5, 2, ["none"])
    mme = parse(groups_of("evaluate.eval_gqa"), "", ["--config", str(CASES / "onoff.yaml"), "--parser", "lmms"][2:])
    assert mme
    with pytest.raises(ArgumentError, match="--parser is 'strict'"):  # right for POPE, whose parsers it names
        parse(groups_of("evaluate.eval_gqa"), "", ["--config", str(CASES / "onoff.yaml")])
    pope = parse(groups_of("evaluate.eval_pope"), "", ["--config", str(CASES / "onoff.yaml")])
    found = {name: value for group in pope for name, value in vars(group).items()}
    assert (found["pairing"], found["parser"], found["seed"]) == ("line", "strict", 3)


@dataclass
class Values:
    """One flag of each kind."""

    whole: int = flag(1, "", least=0)
    number: float = flag(1.0, "", above=0, most=1)
    switch: bool = flag(False, "")
    text: str | None = flag(None, "")
    one: str = flag("a", "", ("a", "b", "none"))


WORDS = st.one_of(
    st.integers(-3, 40).map(str),
    st.floats(-2, 2).map(repr),
    st.sampled_from(
        ["yes", "no", "on", "off", "null", "~", "true", "a", "A", "none", "nan", "inf", "1e-3", "0x1", "1_0", ""]
    ),
    st.text(string.ascii_letters + string.digits + " :#'\"[]{}-.,!&*é", max_size=12).filter(
        lambda text: not text.startswith("-")
    ),
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(list(Values.__dataclass_fields__)), word=WORDS)
def test_a_quoted_value_means_what_the_word_means(
    tmp_path_factory: pytest.TempPathFactory, name: str, word: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps({name: word}, ensure_ascii=False), encoding="utf-8")
    outcomes: list[object] = []
    for line in ([f"--{name}={word}"], ["--config", str(path)]):
        try:
            outcomes.append(parse([Values], "", line))
        except ArgumentError as error:
            outcomes.append(str(error).removeprefix(f"{path}: "))
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[0], str):
        assert f"--{name}" in outcomes[0] and "\n" not in outcomes[0]


@settings(max_examples=100, deadline=None)
@given(value=st.one_of(st.integers(0, 10**9), st.booleans(), st.floats(0.001, 1), st.sampled_from(["a", "b"])))
def test_a_plain_value_is_what_yaml_says_where_the_type_fits(
    tmp_path_factory: pytest.TempPathFactory, value: int | bool | float | str
) -> None:
    kinds = {bool: "switch", int: "whole", float: "number", str: "one"}
    name = kinds[type(value)]
    path = tmp_path_factory.getbasetemp() / "plain.yaml"
    path.write_text(yaml.safe_dump({name: value}))
    (args,) = parse([Values], "", ["--config", str(path)])
    assert getattr(args, name) == value and type(getattr(args, name)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "seed stands there twice"),
        ("seed: {a: 1}\n", "--seed is a mapping; give one value"),
        ("seed: [[1]]\n", "values within values"),
        ("- seed\n", "must be a mapping"),
        ("seed: [1\n", ":2 (from --config) is not YAML"),
        ("trian: {seed: 1}\n", "unknown step trian; did you mean train?"),
        ("sede: 1\n", "unknown key sede; did you mean seed?"),
        ("train: {}\nsede: 1\n", "unknown key sede"),
        ("train: {sede: 1}\n", "unknown key sede"),
        ("dry_run:\n", "--dry_run has no value"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        parse([RunArguments], "", ["--config", str(path)], step="train")
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_cannot_hold_the_byte_that_ends_it(tmp_path: Path) -> None:
    """Which no command line can hold, and YAML can."""
    path = tmp_path / "run.yaml"
    path.write_text('result_path: "a\\0.json"\n')
    with pytest.raises(ArgumentError, match="--result_path holds a byte 0"):
        parse(groups_of("evaluate.eval_gqa"), "", ["--config", str(path)])


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "-1", str(2**32), str(-(2**63))])
def test_a_seed_is_what_every_library_takes(number: str) -> None:
    """Of hundreds of digits it is no float, and of thousands no number to Python."""
    for module in ("finetune.train", "evaluate.compare", "dataset.mini.draw", "evaluate.eval_auto"):
        with pytest.raises(ArgumentError, match=r"--seed is .*give a whole number from 0 to 4\.29497e\+09"):
            parse(groups_of(module), "", ["--seed", number])


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_whole_number_of_any_length_is_read_or_refused(digits: int) -> None:
    with pytest.raises(ArgumentError, match="--end_pos is '9"):
        parse([RunArguments], "", ["--end_pos", "9" * digits])


def test_merged_mappings_and_unset_values(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("caption: &all {seed: 4, start_pos: 1}\ntrain:\n  <<: *all\n  seed: 6\n")
    (args,) = parse([RunArguments], "", ["--config", str(path)], step="train")
    assert (args.seed, args.start_pos) == (6, 1)
    path.write_text("text:\n")
    (values,) = parse([Values], "", ["--config", str(path)])
    assert values.text is None
