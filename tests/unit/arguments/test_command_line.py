"""Words on the command line: paths, negative numbers, slips; and a help that a person can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.args import GenerationArguments, ModelArguments, RunArguments, parse
from common.errors import ArgumentError
from common.paths import ROOT


def help_text(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `--help` prints for the given line."""
    with pytest.raises(SystemExit) as stop:
        parse([ModelArguments, GenerationArguments, RunArguments], "A step", [*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_each_flag_stands_in_the_help_once_under_a_title(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text([], capsys)
    flags = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert len(flags) == len(set(flags)) and "--llava_path" in flags and "--owl_path" in flags
    assert "--llava-path" not in text and "(default: None)" not in text
    assert "What every long step has:" in text and "(default: 200)" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_flags_of_other_families_are_left_out_once_a_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--model", "owl"], ["--model=owl"]):
        text = help_text(words, capsys)
        assert "--owl_path" in text and "--llava_path" not in text and "--minigpt" not in text
    (args,) = parse([ModelArguments], "", ["--model", "owl", "--llava_path", "x"])
    assert args.llava_path == "x"


def test_home_and_variables_are_replaced_in_paths_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data")
    (args,) = parse([ModelArguments], "", ["--llava_path", "~/llava", "--llava_vit_path", "${DATA}/vit"])
    assert (args.llava_path, args.llava_vit_path) == (f"{tmp_path}/llava", "/data/vit")
    config = tmp_path / "run.yaml"
    config.write_text("llava_path: $DATA/llava\nllava_vit_path: ~/vit\n")
    (args,) = parse([ModelArguments], "", ["--config", "~/run.yaml"])
    assert (args.llava_path, args.llava_vit_path) == ("/data/llava", f"{tmp_path}/vit")


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"--llava_path is '\$NOT_SET_HERE/a', but the variable NOT_SET_HERE"):
        parse([ModelArguments], "", ["--llava_path", "$NOT_SET_HERE/a"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "-1"], "--seed is '-1'; give a whole number from 0"),
        (["--end_pos", "-5"], "--end_pos is '-5'; give a whole number from -1"),
        (["--seed", "1", "2"], "--seed has 2 values (1, 2); give one"),
        (["more"], "'more' belongs to no flag"),
        (["-seed", "1"], "unknown flag -seed; did you mean --seed?"),
        (["--sede", "1"], "unknown flag --sede; did you mean --seed?"),
        (["--clip_bs", "1"], "unknown flag --clip_bs; it belongs to insight/clip.py"),
        (["--zzz"], "unknown flag --zzz; see --help"),
        (["--dry_run", "maybe"], "--dry_run is 'maybe'; give true or false"),
    ],
)
def test_a_slip_is_told_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse([RunArguments], "", words)
    assert message in str(caught.value)


def test_negative_numbers_dashes_and_the_last_of_two() -> None:
    (args,) = parse([RunArguments], "", ["--end-pos", "-1", "--dry-run", "--seed=1", "--seed", "2"])
    assert (args.end_pos, args.dry_run, args.seed) == (-1, True, 2)


def completed(folder: Path, line: str) -> str:
    """What bash offers for the last word of a line."""
    asked = f'for file in {folder}/*.sh; do source $file; done; COMP_WORDS=({line}); COMP_LINE="{line}"'
    asked += '; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); $(complete -p python | grep -o "_[a-z_]*") python'
    asked += ' "${COMP_WORDS[COMP_CWORD]}" x; echo ${COMPREPLY[@]}'
    return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def test_a_shell_gets_its_completion(tmp_path: Path) -> None:
    """Behind `python`, as scripts are called, and of the script that is called."""
    for script in ("insight/object.py", "evaluate/compare.py"):
        command = [sys.executable, script, "--print_completion", "bash"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        (tmp_path / f"{Path(script).stem}.sh").write_text(done.stdout)
    assert completed(tmp_path, "python insight/object.py --caption_d") == "--caption_data_path"
    assert completed(tmp_path, "python3 -m insight.object --extractor s") == "spacy"
    assert completed(tmp_path, "python evaluate/compare.py --sec") == "--second"
    assert completed(tmp_path, "python other.py --caption_d") == ""
