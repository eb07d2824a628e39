"""An output is touched only if it is new, empty or provably ours; one process at a time; complete is what says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, DataError
from common.files.record_files import caption_from_json, caption_key
from common.files.storage import ResumableLines, naming, read_json, remove_leftovers, whole_file, write_json
from common.manifest import manifest_path
from common.outputs.lines import LineTarget
from common.outputs.locks import InUseError, exclusive, lock_path
from common.outputs.settings import settings_path
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, json_object_with, taken
from common.paths import ROOT

SETTINGS = {"prompt": "Describe.", "model_hash": "0a"}


def record(number: int) -> dict[str, Any]:
    """A caption."""
    return {"image": f"{number}.png", "image_id": number, "caption": f"A dog, {number} times."}


def target(path: Path) -> LineTarget:
    """Captions."""
    return LineTarget(path, "caption_data_path", "insight.caption", caption_from_json, caption_key)


def make(path: Path, numbers: range, settings: Mapping[str, Any] = SETTINGS, restart: bool = False) -> None:
    """What a step does."""
    with target(path).open(settings, restart) as out:
        out.write(record(n) for n in numbers if f"{n}/0" not in out.done)
        out.finish({"n": len(numbers)})


def test_a_step_leaves_records_settings_and_manifest_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "c.jsonl", range(3))
    names = ["c.jsonl", "c.jsonl.manifest.json", "c.jsonl.settings.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert [json.loads(line)["image_id"] for line in (tmp_path / "c.jsonl").open()] == [0, 1, 2]


def test_a_killed_step_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "whole.jsonl", range(5))
    path = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt), target(path).open(SETTINGS) as out:
        out.write([record(0), record(1)])
        raise KeyboardInterrupt
    assert not manifest_path(path).exists()
    path.write_bytes(path.read_bytes()[:-9])
    make(path, range(5))
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_file_that_grows_is_not_complete_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    make(path, range(2))
    with pytest.raises(KeyboardInterrupt), target(path).open(SETTINGS) as out:
        out.write([record(2)])
        raise KeyboardInterrupt
    assert not manifest_path(path).exists()


FOREIGN = {
    "text": "my notes, without a final newline",
    "json": '{"questions": [1, 2]}',
    "json_lines": '{"id": 1}\n{"id": 2}\n',
    "captions_of_another": json.dumps(record(1)) + "\n",
}


NOTES: tuple[dict[str, Any] | None, ...] = (None, {"step": "evaluate.benchmarks"}, {"extractor": "spacy"})
CASES = [(content, note) for content in FOREIGN.values() for note in NOTES] + [(FOREIGN["json_lines"], SETTINGS)]


@pytest.mark.parametrize(("content", "beside"), CASES)
@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_is_not_ours_stays_as_it_is(
    tmp_path: Path, content: str, restart: bool, beside: dict[str, Any] | None
) -> None:
    """No note beside it, that of another step, or a note and lines that are no records."""
    path = tmp_path / "notes"
    path.write_text(content, encoding="utf-8")
    if beside is not None:
        write_json(settings_path(path), beside)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"caption_data_path .*notes is there already"):
        make(path, range(3), restart=restart)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_restart_keeps_the_result_until_there_is_a_record_and_then_takes_the_new_settings(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    make(path, range(3))
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ArgumentError, match=r"begun with prompt Describe\., now it is Say\."):
        make(path, range(3), {"prompt": "Say."})
    with pytest.raises(DataError), target(path).open({"prompt": "Say."}, restart=True):
        raise DataError("no such model")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    make(path, range(1), {"prompt": "Say."}, restart=True)
    assert len(path.read_text().splitlines()) == 1 and "Say." in settings_path(path).read_text()


def test_an_empty_file_is_anybodys(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").touch()
    make(tmp_path / "c.jsonl", range(1))
    assert (tmp_path / "c.jsonl").read_text().count("\n") == 1


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "disk" / "real.jsonl")
    make(tmp_path / "link.jsonl", range(2))
    make(tmp_path / "link.jsonl", range(1), restart=True)
    write_json(tmp_path / "link.jsonl", {})
    assert (tmp_path / "link.jsonl").is_symlink() and (tmp_path / "disk" / "real.jsonl").read_text() == "{}\n"


def test_a_doubled_record_is_named_and_restart_is_a_way_on(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    make(path, range(2))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"line 3 says 0/0 again; begin it anew with --restart"):
        make(path, range(2))
    make(path, range(2), restart=True)


# Locks

HOLD = """import sys, time
from common.outputs.locks import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_says_who_is_first_and_death_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as held:
        assert held.stdout is not None and held.stdout.readline() == b"held\n"
        with pytest.raises(InUseError, match=rf"c\.jsonl is being written by process {held.pid} on \S+ since 20"):
            make(path, range(2))
        assert not path.exists()
        held.send_signal(signal.SIGKILL)
        held.wait()
    make(path, range(2))
    assert not lock_path(path).exists()


def test_a_lock_is_that_of_the_file_under_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with exclusive(tmp_path / "file"), pytest.raises(InUseError), exclusive(tmp_path / "link"):
        pass


def test_a_forked_worker_does_not_hold_the_lock(tmp_path: Path) -> None:
    read, write = os.pipe()
    with exclusive(tmp_path / "f"):
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)
    with exclusive(tmp_path / "f"):
        pass
    os.write(write, b"x")
    os.waitpid(child, 0)


def test_a_lock_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError), exclusive(tmp_path / "a" / "b" / "c.jsonl"):
        raise DataError("nothing was written")
    assert not (tmp_path / "a").exists()


# Places


def test_no_output_is_an_input_under_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}\n")
    (tmp_path / "soft").symlink_to(tmp_path / "in.jsonl")
    os.link(tmp_path / "in.jsonl", tmp_path / "hard")
    for name in ("in.jsonl", "soft", "hard", "./in.jsonl", "../" + tmp_path.name + "/in.jsonl"):
        with pytest.raises(ArgumentError, match=r"is an input of this command \(from --caption_data_path\)"):
            check_targets({"object_data_path": tmp_path / name}, caption_data_path=tmp_path / "in.jsonl")
    with pytest.raises(ArgumentError, match="input"):
        check_targets({"out": tmp_path / "a"}, question_path=settings_path(tmp_path / "a"))
    with pytest.raises(ArgumentError, match="--b and --a name the same file"):
        check_targets({"a": tmp_path / "x", "b": tmp_path / "x"})
    with pytest.raises(ArgumentError, match="would be taken for one of its images"):
        check_targets({"figure_path": tmp_path / "density.PNG"}, image_dir_path=tmp_path)
    check_targets({"score_data_path": tmp_path / "density.jsonl"}, image_dir_path=tmp_path)
    check_targets({"a": tmp_path / "x", "b": tmp_path / "y", "c": None}, given=tmp_path / "in.jsonl", other=None)


def test_a_folder_or_a_file_as_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a folder"):
        check_targets({"out": tmp_path})
    with pytest.raises(DataError, match="file is a file, not a folder"):
        check_targets({"out": tmp_path / "file" / "deep" / "out.json"})


@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device"])
def test_a_device_or_a_pipe_is_no_file(tmp_path: Path, kind: str) -> None:
    """As root, what is renamed over /dev/null takes its place for the whole machine; reading a pipe waits for ever."""
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    place = Path("/dev/zero") if kind == "device" else path
    with pytest.raises(DataError, match="is a device or a pipe; give the name of a file"):
        check_targets({"result_path": place})
    with pytest.raises(DataError, match="is a device or a pipe, which cannot be read twice"):
        read_json(place)


def test_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    with pytest.raises(DataError, match="x is a link in a circle"):
        check_targets({"result_path": tmp_path / "x"})


@pytest.mark.parametrize("notes", ['{"mine": 1}', '{"step": "another.step"}', '{"mi', "[1]"])
def test_notes_of_somebody_elses_beside_a_new_target_stay(tmp_path: Path, notes: str) -> None:
    path = tmp_path / "c.jsonl"
    settings_path(path).write_text(notes)
    with pytest.raises(DataError, match=r"c\.jsonl"):
        make(path, range(2))
    assert settings_path(path).read_text() == notes and not path.exists()
    settings_path(path).unlink()
    manifest_path(path).write_text('{"mine": 1}')
    with pytest.raises(DataError, match=r"c\.jsonl\.manifest\.json is there already"):
        make(path, range(2))
    assert manifest_path(path).read_text() == '{"mine": 1}'


def test_a_lock_is_no_link_to_a_file_of_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    lock_path(tmp_path / "c.jsonl").symlink_to(tmp_path / "thesis")
    with pytest.raises(OSError, match="symbolic links"), exclusive(tmp_path / "c.jsonl"):
        pass
    assert (tmp_path / "thesis").read_text() == "mine"


# Files that appear at once


def test_whole_files_are_ours_by_what_they_say_or_by_a_note(tmp_path: Path) -> None:
    result = WholeTarget(tmp_path / "r.json", "result_path", "evaluate", json_object_with("task", "scores"))
    with taken([result]):
        write_json(result.path, {"task": "pope", "scores": {}})
    with taken([result]):
        write_json(result.path, {"task": "pope", "scores": {"f1": 1.0}})
    result.path.write_text('{"mine": 1}')
    with pytest.raises(DataError, match="no JSON object with task, scores"), taken([result]):
        pass
    noted = WholeTarget(tmp_path / "s.json", "sentence_data_path", "finetune.format_data", lambda _: None, True)
    noted.path.write_text("[]")
    with pytest.raises(DataError, match=r"s\.json is there already"), taken([noted]):
        pass
    noted.path.unlink()
    for _ in range(2):
        with taken([noted]):
            write_json(noted.path, [])


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".c.jsonl.123.tmp", ".c.jsonl.1x.tmp", "c.jsonl.5.tmp", ".other.9.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "c.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".c.jsonl.1x.tmp", ".other.9.tmp", "c.jsonl.5.tmp"]


def test_a_failed_write_leaves_the_file_and_no_temporary(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    for error in (RuntimeError("x"), OSError(28, "No space left on device"), ValueError("I/O (os error 28)")):
        with pytest.raises(Exception) as raised, whole_file(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise error
        assert isinstance(raised.value, RuntimeError) or raised.value.errno == 28  # type: ignore[attr-defined]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and json.loads((tmp_path / "a.json").read_text()) == {
        "n": 1
    }


def test_a_full_disk_has_a_name_whoever_found_it_full(tmp_path: Path) -> None:
    """Plain writes, safetensors and torch, whose archive fails again when it is closed, say none; others stay."""
    full = OSError(28, "No space left on device")
    torchs = RuntimeError("unexpected pos 576 vs 534")
    torchs.__context__ = full
    for error in (full, ValueError("I/O error (os error 28)"), torchs):
        with pytest.raises(OSError, match=r"\[Errno 28\].*/world'$"), naming(tmp_path / "world"):
            raise error
    for other in (OSError(28, "full", "its own"), OSError(104, "reset"), RuntimeError("x"), KeyboardInterrupt()):
        with pytest.raises(type(other)) as raised, naming(tmp_path / "world"):
            raise other
        assert raised.value is other


def test_what_a_library_leaves_beside_its_file_goes_too(tmp_path: Path) -> None:
    """safetensors writes to a temporary name of its own choice, which a kill leaves."""
    with pytest.raises(RuntimeError), whole_file(tmp_path / "w", in_folder=True) as temporary:
        temporary.with_name(".tmpAbC").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_file(tmp_path / "w", in_folder=True) as temporary:
        temporary.write_text("whole")
        left = tmp_path / temporary.parent.name.replace(str(os.getpid()), "123")
        left.mkdir()
        (left / ".tmpAbC").write_text("half")
    remove_leftovers(tmp_path / "w")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"w": "whole"}


def test_records_that_do_not_fit_on_the_disk_leave_whole_lines(tmp_path: Path) -> None:
    """A file size limit stands for the full disk."""
    import resource

    path, limits = tmp_path / "c.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with ResumableLines(path, caption_key) as lines:
            lines.write([record(1)])
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
            with pytest.raises(OSError, match=r"c\.jsonl"):
                lines.write([record(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text().count("\n") == 1 and path.read_text().endswith("\n")
