"""How scripts end: 2 and one line for what the user can mend, 130 for Ctrl-C, also while they are still importing."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from common.cli import run
from common.errors import DataError, DryRunEnds
from common.files.storage import write_json
from common.paths import ROOT


def ends(main: Callable[[], None]) -> int:
    """The exit code."""
    try:
        run(main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def raising(error: BaseException) -> Callable[[], None]:
    """A script that fails."""

    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("no file x"), 2, "error: no file x"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            2,
            "error: /data/x: No space left on device; make",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied; choose a place"),
        (OSError("Can't load the model\nfor 'x'"), 2, "error: Can't load the model"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to continue"),
        (DryRunEnds("x is not there yet"), 0, "x is not there yet"),
    ],
)
def test_one_line_and_the_code(error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert ends(raising(error)) == code
    signal.signal(signal.SIGINT, handler)
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and shown.err.startswith(words)


def test_the_line_is_one_of_its_own_where_a_bar_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        opened.append(tqdm(total=3, file=sys.stderr))
        raise DataError("no file x")

    opened: list[tqdm] = []  # type: ignore[type-arg]
    assert ends(main) == 2
    assert capsys.readouterr().err.endswith("\nerror: no file x\n")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


@pytest.mark.parametrize("name", ["folder", "file/deep/x.json", "n" * 300, "n" * 250])
def test_what_the_system_refuses_is_one_line_and_changes_nothing(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder as target, a file as folder, names that are too long (with the temporary's ending, too)."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert ends(lambda: write_json(tmp_path / name, {})) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1 and len(shown) <= 420
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for room in ("insight", "finetune", "evaluate", "dataset", "deploy")
    for path in (ROOT / room).rglob("*.py")
    if re.search(r"^    run\w*\(main\)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_guarded_before_its_own_imports(script: str) -> None:
    """Nothing of the project, and nothing slow, is imported before."""
    text = (ROOT / script).read_text(encoding="utf-8")
    guard = 'if __name__ == "__main__":\n    import common.interrupts  # noqa: F401\n'
    imported = re.findall(r"^\s*(?:from|import) (\w+)", text[: text.index(guard)], flags=re.MULTILINE)
    assert set(imported) <= {"__future__", "sys"}


SLOW_IMPORT = """
import sys, time
from pathlib import Path
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            Path({reached!r}).touch()
            time.sleep(60)
sys.meta_path.insert(0, Slow())
"""


@pytest.mark.parametrize(
    ("module", "number"), [("dataclasses", signal.SIGINT), ("common.args", signal.SIGINT), ("json", signal.SIGTERM)]
)
def test_ctrl_c_during_imports_prints_one_line(module: str, number: signal.Signals, tmp_path: Path) -> None:
    """Of the standard library and of ours; SIGTERM, as schedulers and containers send it, is no other thing."""
    reached = tmp_path / "reached"
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT.format(module=module, reached=str(reached)))
    command = [sys.executable, str(ROOT / "insight" / "object.py"), "--caption_data_path", "no such file"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
    ) as process:
        end = time.monotonic() + 60
        while not reached.exists() and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "interrupted; run the same command again to continue\n")


BUSY = """
import os, sys, time
from common.cli import run
from common.files.storage import whole_file
def main():
    with whole_file(sys.argv[1]) as temporary:
        temporary.write_text("half")
        if not os.fork():
            os.write(1, b"busy")
            time.sleep(60)  # a worker, which ends as processes do
        time.sleep(60)
run(main)
"""


@pytest.mark.parametrize("launched", [False, True])
def test_sigterm_is_an_interruption_that_leaves_nothing_half_done(launched: bool, tmp_path: Path) -> None:
    """Of a launch, whose launcher sends it, it is the end at once."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"RANK": "0"} if launched else {})}
    with subprocess.Popen(
        [sys.executable, "-c", BUSY, str(tmp_path / "x.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdout.read(4) == b"busy"
        os.killpg(process.pid, signal.SIGTERM)
        _, shown = process.communicate(timeout=60)
    left = [path.name for path in tmp_path.iterdir()]
    if launched:
        assert process.returncode == -signal.SIGTERM
    else:
        assert (process.returncode, shown) == (130, b"interrupted; run the same command again to continue\n")
        assert left == []


def test_output_that_is_closed_or_knows_no_unicode_is_no_fault() -> None:
    code = "from common.cli import run; run(lambda: print('\\u732b \\ud800'))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u732b \\ud800\n", "")
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], env=environment)
    assert closed.returncode == 0
