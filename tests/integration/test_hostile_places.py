"""Every script on targets that cannot be written, that are others' files, or that another process writes.

Right is one line, exit code 2, the target as it was and nothing left beside it. A script runs in a fork of this
process, so that the libraries are loaded once.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.files.storage import read_json
from common.outputs.locks import exclusive
from tests.crash.attempts import exit_code
from tests.crash.steps import BENCHMARKS, IMAGES, STEPS, Step, make_inputs

# Step -> flag and name of each of its outputs that a flag names.
OUTPUTS = {
    "draw": (("--output_dir", "world"),),
    "caption": (("--caption_data_path", "c.jsonl"),),
    "caption_eval": (("--caption_eval_path", "e.jsonl"),),
    "objects": (("--object_data_path", "o.jsonl"),),
    "score": (("--score_data_path", "s.jsonl"), ("--figure_path", "density.png")),
    "answers": (("--answer_data_path", "w.jsonl"),),
    "browse": (("--page_path", "page.html"),),
    "format": (
        ("--pos_neg_data_path", "p.json"),
        ("--sentence_data_path", "t.json"),
        ("--repaired_data_path", "r.json"),
    ),
    "train": (("--llava_ckpt_save_path", "run"),),
    "judge": (("--result_path", "result.json"),),
    "pope": (("--answers_save_path", "a.jsonl"), ("--result_path", "result.json")),
    "compare": (("--result_path", "difference.json"),),
    "report": (("--report_path", "report.html"),),
    "export": (("--export_path", "exported"),),
    **dict.fromkeys(BENCHMARKS, (("--result_path", "result.json"),)),
}
FILES = [(step, name) for step, outputs in OUTPUTS.items() for flag, name in outputs if flag != "--output_dir"]
FOLDERS = ("train", "export")
INPUT = {
    "caption": "world/train/images/mini_train_000000000001.png",
    "caption_eval": "world/eval/images/mini_eval_000000500001.png",
    "objects": "captions.jsonl",
    "score": "objects.jsonl",
    "answers": "objects.jsonl",
    "browse": "scores.jsonl",
    "format": "scores.jsonl",
    "train": "train/llava",
    "judge": "captions.jsonl",
    "pope": "world/eval/annotations/instances_eval.json",
    "compare": "one.json",
    "report": "captions.jsonl",
    "export": "train/llava",
    "mme": "mme/mme",
    "gqa": "gqa/answers.jsonl",
    "scienceqa": "scienceqa/problems.json",
    "qbench": "qbench/questions.jsonl",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps read."""
    root = tmp_path_factory.mktemp("hostile") / "in"
    make_inputs(root)
    for name in ("one", "two"):
        done = run(STEPS["judge"], root, root)
        assert done[0] == 0, done[1]
        shutil.move(root / "result.json", root / f"{name}.json")
    return root


def run(step: Step, inputs: Path, outputs: Path, *more: str) -> tuple[int, str]:
    """Exit code and standard error of a script."""
    importlib.import_module(step.module)
    with tempfile.TemporaryFile() as heard:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(heard.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                sys.stdout = os.fdopen(1, "w", closefd=False)
                sys.argv = [step.module, *step.words(inputs, outputs, *more)]
                code = exit_code(sys.modules[step.module])
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        heard.seek(0)
        return os.waitstatus_to_exitcode(status), heard.read().decode(errors="replace")


def state(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def refused(done: tuple[int, str]) -> str:
    """The line, of a script that refuses."""
    code, said = done
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and "Traceback" not in said, said[-3000:]
    assert len(errors[0]) <= 420
    return errors[0]


@pytest.mark.parametrize(("name", "output"), FILES)
def test_a_foreign_file_as_target_stays_as_it_is(name: str, output: str, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / output).write_text("my notes, without a final newline")
    before = state(tmp_path)
    line = refused(run(STEPS[name], inputs, tmp_path))
    assert output in line and state(tmp_path) == before


@pytest.mark.parametrize(("name", "output"), [pair for pair in FILES if pair[0] not in FOLDERS])
def test_a_folder_as_target(name: str, output: str, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / output / "inner").mkdir(parents=True)
    before = state(tmp_path)
    assert "is a folder" in refused(run(STEPS[name], inputs, tmp_path))
    assert state(tmp_path) == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_file_where_a_folder_should_be(name: str, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(run(STEPS[name], inputs, tmp_path / "file"))
    assert state(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("name", INPUT)
def test_an_input_as_target_stays_as_it_is(name: str, inputs: Path, tmp_path: Path) -> None:
    """By its own name and through links of both kinds; with --restart too, where there is one."""
    flag, output = OUTPUTS[name][0]
    given, step = inputs / INPUT[name], STEPS[name]
    before = state(inputs)
    (tmp_path / output).symlink_to(given)
    refused(run(step, inputs, tmp_path))
    (tmp_path / output).unlink()
    if given.is_file():
        os.link(given, tmp_path / output)
        refused(run(step, inputs, tmp_path, *(["--restart"] if step.others else [])))
    refused(run(step, inputs, tmp_path, flag, str(given)))
    assert state(inputs) == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_second_process_says_who_is_first(name: str, inputs: Path, tmp_path: Path) -> None:
    output = "world/train" if name == "draw" else OUTPUTS[name][0][1]
    with exclusive(tmp_path / output):
        before = state(tmp_path)
        assert f"is being written by process {os.getpid()} on " in refused(run(STEPS[name], inputs, tmp_path))
        assert {k: v for k, v in state(tmp_path).items() if v is not None} == {k: v for k, v in before.items() if v}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 KiB. Skips where mounting is not allowed."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(disk: Path, free: int) -> None:
    """Up to so many bytes of a small disk, by somebody else."""
    with (disk / "theirs").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            file.truncate(file.tell() - free)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_full_disk_is_one_line_and_there_is_a_way_on(name: str, inputs: Path, small_disk: Path) -> None:
    """To the last byte, and with room for the lock alone; with more the same command ends."""
    for free in (0, 4096):
        fill(small_disk, free)
        before = state(small_disk)
        line = refused(run(STEPS[name], inputs, small_disk))
        assert "No space left on device" in line and str(small_disk) in line
        left = {path: held for path, held in state(small_disk).items() if held}
        assert left == before, "a leftover keeps the disk full"
    (small_disk / "theirs").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    code, said = run(STEPS[name], inputs, small_disk)
    assert code == 0, said[-3000:]
    assert not list(small_disk.rglob(".*")), "leftovers"


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_folder_that_may_not_be_written_is_one_line(name: str, inputs: Path, small_disk: Path) -> None:
    """Mounted read-only, which stops root too."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(run(STEPS[name], inputs, small_disk))
    assert list(small_disk.iterdir()) == []


def test_a_part_of_the_captions_is_no_whole(inputs: Path, tmp_path: Path) -> None:
    """The manifest says which part; the plain command makes the rest."""
    step = STEPS["objects"]
    assert run(step, inputs, tmp_path, "--end_pos", "1")[0] == 0
    assert read_json(tmp_path / "o.jsonl.manifest.json")["arguments"]["end_pos"] == 1
    assert run(step, inputs, tmp_path)[0] == 0
    assert (tmp_path / "o.jsonl").read_bytes().count(b"\n") == IMAGES


DRY = sorted({*OUTPUTS} - {"draw", "judge", "compare", "report"})  # which have no --dry_run


@pytest.mark.parametrize("name", DRY)
def test_a_dry_run_writes_nothing(name: str, inputs: Path, tmp_path: Path) -> None:
    """Also where there is nothing slow to leave out, as in scoring a file of answers."""
    before = state(inputs)
    code, said = run(STEPS[name], inputs, tmp_path, "--dry_run")
    assert code == 0, said[-3000:]
    assert state(tmp_path) == {} and state(inputs) == before
