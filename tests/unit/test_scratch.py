"""What is left in the temporary folder: nothing of the tests, and nothing of a long command that is called again."""

from __future__ import annotations

import multiprocessing.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.scratch import scratch


def test_the_session_has_a_temporary_folder_of_its_own(tmp_path: Path) -> None:
    """Also the processes that tests start; paths of sockets below it have room in 107 bytes."""
    folder = Path(tempfile.gettempdir())
    assert folder in (tmp_path.parent / "t", tmp_path.parent.parent / "t")  # below `-n` a worker's is one deeper
    assert Path(os.environ["TMPDIR"]) == folder and len(f"{folder}/pymp-12345678/listener-12345678") < 107


def test_a_killed_command_leaves_nothing_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own folder and what its processes left go; a running command's and other people's files stay."""
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    theirs = {tmp_path / f"efuf-table-{os.getppid()}", tmp_path / "efuf-table-mine", tmp_path / f"efuf-x-{ended.pid}"}
    for folder in (*theirs, tmp_path / f"efuf-table-{ended.pid}"):
        (folder / "inner").mkdir(parents=True)
    multiprocessing.util.get_temp_dir()  # of this process, elsewhere
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(ZeroDivisionError), scratch("table") as place:
        assert {*tmp_path.iterdir()} == {place, *theirs}
        assert Path(tempfile.mkdtemp()).parent == place == Path(os.environ["TMPDIR"])
        raise ZeroDivisionError
    assert {*tmp_path.iterdir()} == theirs and tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)


def test_what_is_removed_at_exit_is_still_there(tmp_path: Path) -> None:
    """The folder of multiprocessing's sockets, which it removes itself, with a traceback where it is gone."""
    use = "import multiprocessing.util as m\nfrom tests.scratch import scratch\nwith scratch('x'): m.get_temp_dir()"
    ran = subprocess.run([sys.executable, "-c", use], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True)
    assert (ran.returncode, ran.stderr, [*tmp_path.iterdir()]) == (0, b"", [])
