"""Scripts as forks of one process: their own arguments, names, streams, exit codes and deaths."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.steps.scripts import LIBRARIES, Scripts, can_fork, libraries_of
from tests.forks.scripts import LOADED, run

KEPT = """import atexit
import tempfile
FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
"""
SCRIPT = """
import atexit, json, os, signal, sys, threading, time
if __name__ == "__main__":
    what = sys.argv[1]
    if what == "say":
        print(json.dumps([sys.argv[1:], __name__, os.getpid(), os.getppid(), "csv" in sys.modules]), flush=True)
        sys.exit(int(sys.argv[2]))
    if what == "keep":
        import kept
        print(os.path.isdir(kept.FOLDER.name), flush=True)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "end":
        threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
        atexit.register(print, "at exit")
        print("main")
        sys.exit("why")
    if what == "fail":
        raise ValueError("of the script")
    if what == "wait":
        print(os.getpid(), flush=True)
        time.sleep(60)
"""


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripts]:
    """Forking scripts; the module `said` is found, and `csv` stands for a library that takes long to load."""
    (tmp_path / "said.py").write_text(SCRIPT)
    (tmp_path / "kept.py").write_text(KEPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(LIBRARIES, "slow", ("csv", "kept", "not_installed_anywhere"))
    with Scripts() as made:
        made.forking = True
        yield made


def test_a_fork_is_a_script_of_its_own(scripts: Scripts, capfd: pytest.CaptureFixture[str]) -> None:
    assert scripts.run(["-m", "said", "say", "0", "--a b"], "draw", ["slow"]) == 0
    assert scripts.run(["-m", "said", "say", "7"], "slow") == 7
    first, second = map(json.loads, capfd.readouterr().out.split("\n")[:2])
    assert first[:2] == [["say", "0", "--a b"], "__main__"] and not first[4]  # what is for later is loaded later
    assert second[0] == ["say", "7"] and second[4]
    assert scripts.server is not None
    assert first[3] == second[3] == scripts.server.pid and len({first[2], second[2], first[3], os.getpid()}) == 4


def test_what_a_library_holds_for_all_outlives_the_first_script(
    scripts: Scripts, capfd: pytest.CaptureFixture[str]
) -> None:
    """W&B, which comes with the scorer, makes a folder for pictures when it is loaded."""
    assert [scripts.run(["-m", "said", "keep"], "slow") for _ in range(2)] == [0, 0]
    assert capfd.readouterr().out.split() == ["True", "True"]


def test_a_script_ends_as_by_itself(scripts: Scripts, capfd: pytest.CaptureFixture[str]) -> None:
    """Its threads first, then what it has registered; what it has printed comes out, though nothing is taken down."""
    assert scripts.run(["-m", "said", "end"], "draw") == 1
    said = capfd.readouterr()
    assert said.out.split("\n")[:3] == ["main", "thread", "at exit"] and said.err == "why\n"


def test_a_script_that_dies_is_told_by_its_code_and_the_next_one_runs(
    scripts: Scripts, capfd: pytest.CaptureFixture[str]
) -> None:
    assert scripts.run(["-m", "said", "die"], "draw") == -signal.SIGKILL
    assert scripts.run(["-m", "said", "fail"], "draw") == 1
    assert scripts.run(["-m", "no_such_module"], "draw") == 1
    assert scripts.run(["-m", "said", "say", "0"], "draw") == 0
    assert "ValueError: of the script" in capfd.readouterr().err


def test_a_server_that_dies_is_a_failed_script(scripts: Scripts) -> None:
    assert scripts.run(["-m", "said", "say", "0"], "draw") == 0
    assert scripts.server is not None
    scripts.server.kill()
    scripts.server.wait()
    assert scripts.run(["-m", "said", "say", "0"], "draw") == 1


def test_a_script_ends_with_the_pipeline_that_is_interrupted(
    scripts: Scripts, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where the signal reaches the pipeline alone."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started ignoring it
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), scripts:
        scripts.run(["-m", "said", "wait"], "draw")
    assert time.monotonic() - start < 20
    pid = int(capfd.readouterr().out)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not can_fork(), reason="nothing is loaded before forks here")
def test_loading_starts_no_threads() -> None:
    """What is forked afterwards would be without them. The process that tests fork scripts from has loaded them all."""
    assert set(libraries_of(list(LIBRARIES))) <= set(LOADED)
    code = "import os, sys; print(len(os.listdir(f'/proc/{os.getppid()}/task')), 'torchvision' in sys.modules)"
    assert run(["-c", code]).stdout.split() == ["1", "True"]
