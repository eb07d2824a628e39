"""The code that runs is the checkout that the script lies in, whatever else is installed or called like its rooms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.paths import ROOT

ELSEWHERE = "raise SystemExit('the wrong code')\n"


def run(script: Path, words: list[str], paths: list[Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A script with further folders on the path, as installed packages are."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, str(script), *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of installed packages: another checkout's rooms, and an `evaluate` of somebody else's."""
    for name in ("common", "finetune", "insight", "dataset", "deploy"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(ELSEWHERE)
    (tmp_path / "site" / "evaluate").mkdir()
    (tmp_path / "site" / "evaluate" / "__init__.py").write_text("WHOSE = 'theirs'\n")
    return tmp_path / "site"


@pytest.mark.parametrize("script", ["insight/object.py", "evaluate/compare.py", "dataset/mini/draw.py"])
def test_other_code_that_is_installed_is_not_run(script: str, others: Path, tmp_path: Path) -> None:
    done = run(ROOT / script, ["--help"], [others], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and f" {script} " in done.stdout  # the help begins with the script's own examples


def test_a_copy_runs_its_own_code(tmp_path: Path, others: Path) -> None:
    copy = tmp_path / "copy"
    for room in ("common", "insight"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    errors = copy / "common" / "errors.py"
    errors.write_text(errors.read_text() + "\nprint('this copy')\n")
    done = run(copy / "insight" / "object.py", ["--help"], [others, ROOT], tmp_path)
    assert done.returncode == 0 and "this copy" in done.stdout, done.stderr


def test_nothing_of_ours_is_installed_under_a_name_of_others() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"] == {"packages": []}
    assert settings["project"]["requires-python"] == ">=3.11"


def test_every_script_puts_its_checkout_first() -> None:
    for room in ("insight", "finetune", "evaluate", "deploy", "dataset"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "run(main)" in text:
                above = "/.." * (len(path.relative_to(ROOT).parts) - 1)
                assert f'sys.path[0] += "{above}"' in text, path
