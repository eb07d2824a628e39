"""What a kill, a new beginning, other settings and other people's files do to a run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ArgumentError, DataError
from common.manifest import write_manifest
from common.outputs.settings import noted_settings
from finetune.run.folder import WEIGHTS, Pointer, RunFolder

SETTINGS = {"trainable": "connector", "train_lr": 0.1}
OTHER = {"trainable": "connector", "train_lr": 0.2}


def write(folder: Path) -> None:
    """A checkpoint of one file."""
    (folder / "weights").write_text("w", encoding="utf-8")


def finish(folder: RunFolder) -> None:
    """A run to its end."""
    folder.keep_split(0, ["a"], ["b"])
    folder.add_checkpoint(2, write)
    (folder.path / WEIGHTS).write_text("w")
    folder.point_to(2, finished=True)
    write_manifest(folder.path / WEIGHTS, {})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Begun."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(SETTINGS)
    return folder


def test_complete_is_what_has_its_manifest(folder: RunFolder) -> None:
    finish(folder)
    assert folder.is_complete
    (folder.path / f"{WEIGHTS}.manifest.json").unlink()
    assert not folder.is_complete and folder.is_begun


def test_a_split_without_a_checkpoint_stands_in_nobodys_way(folder: RunFolder) -> None:
    """Killed before the first checkpoint: other settings, and other images, may begin."""
    folder.keep_split(0, ["a"], ["b"])
    folder.check()
    folder.begin(OTHER)
    folder.keep_split(1, ["b"], ["a"])
    assert noted_settings(folder.path) == OTHER


def test_what_a_kill_left_half_written_is_known_and_goes(folder: RunFolder) -> None:
    for name in (".split.json.12.tmp", f".{WEIGHTS}.7.tmp"):
        (folder.path / name).touch()
    (folder.path / ".checkpoint-000002.55").mkdir()
    (folder.path / "mine.txt").touch()
    (folder.path / "mine.json").touch()
    folder.check()
    folder.begin(SETTINGS)
    assert sorted(p.name for p in folder.path.iterdir()) == ["mine.json", "mine.txt"]


def test_a_checkpoint_without_a_pointer_to_it_goes(folder: RunFolder) -> None:
    folder.add_checkpoint(2, write)
    folder.add_checkpoint(4, write)
    folder.point_to(2, finished=False)  # as it was before the kill
    folder.begin(SETTINGS)
    assert folder.pointer() == Pointer(2, finished=False) and not folder.checkpoint(4).exists()


def test_other_settings_are_refused_and_restart_takes_result_and_pointer_before_them(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(folder)
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}
    with pytest.raises(ArgumentError, match=r"train_lr 0\.1, now it is 0\.2"):
        folder.begin(OTHER)
    assert {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")} == before

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("finetune.run.folder.note_settings", killed)
        folder.begin(OTHER, restart=True)
    assert not folder.is_begun and not folder.is_complete and noted_settings(folder.path) == SETTINGS
    folder.begin(OTHER)
    assert noted_settings(folder.path) == OTHER


def test_the_folder_of_an_earlier_version_goes_on(folder: RunFolder) -> None:
    """Its note lacks fields, its pointer says finished, its manifest was lost."""
    finish(folder)
    (folder.path / f"{WEIGHTS}.manifest.json").unlink()
    folder.begin({**SETTINGS, "load_in_4bit": False})
    assert folder.pointer() == Pointer(2, finished=True) and not folder.is_complete
    with pytest.raises(ArgumentError, match="load_in_4bit"):
        folder.begin({**SETTINGS, "load_in_4bit": True})


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").check()
    (tmp_path / "run" / "split.json").write_text("{}")
    with pytest.raises(DataError, match=r"no run\.settings\.json beside it"):
        RunFolder(tmp_path / "run").check()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        RunFolder(tmp_path / "file").check()


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(folder: RunFolder) -> None:
    folder.add_checkpoint(2, write)

    def full(path: Path) -> None:
        write(path)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.add_checkpoint(4, full)
    assert sorted(p.name for p in folder.path.iterdir()) == ["checkpoint-000002", "last.json"]
