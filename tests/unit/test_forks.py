"""Forks of a loaded process are to a test what `python` is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.forks.scripts import Script, python, run

SHOW = "import json, os, sys; print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), __name__, sys.path[0]]))"


def test_arguments_folder_environment_and_code(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOW)
    for words, name in ((["-c", SHOW], "-c"), (["shown.py"], "shown.py"), (["-m", "shown"], f"{tmp_path}/shown.py")):
        done = run([*words, "--a b"], tmp_path, {"X": "1"})
        assert done.returncode == 0, done.stderr
        here = "" if name == "-c" else str(tmp_path)
        assert json.loads(done.stdout) == [[name, "--a b"], str(tmp_path), {"X": "1"}, "__main__", here]
    failed = run(["-c", "import sys; print('no', file=sys.stderr); sys.exit(3)"])
    assert (failed.returncode, failed.stdout, failed.stderr) == (3, "", "no\n")


def test_it_dies_when_it_is_told_to_and_with_the_test() -> None:
    wait = ["-c", "import time; print(1, flush=True); time.sleep(60)"]
    with Script(wait) as script:
        while not script.said()[0]:
            assert script.poll() is None
        assert script.kill() == script.poll() == -signal.SIGKILL
    with Script(wait) as left:
        pass
    assert not Path(f"/proc/{left.pid}").exists()


def test_what_stands_in_for_python_ends_as_the_fork_does() -> None:
    for code, number in (("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)):
        assert subprocess.run([*python(), "-c", code], env=os.environ).returncode == number
    with subprocess.Popen([*python(), "-c", "import time; time.sleep(60)"]) as told:
        told.terminate()
    assert told.returncode == -signal.SIGTERM
