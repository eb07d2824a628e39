"""For all tests: a slow machine makes no property false, CI tries the same examples each time, test processes that run
side by side fork scripts from one server, and what anything leaves in the temporary folder goes with the session.
"""

from __future__ import annotations

import multiprocessing.util
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.forks.scripts import share
from tests.scratch import is_alive

settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the processes of `-n` are started, which inherit both."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    _own_temporary_folder(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
    if getattr(config.option, "numprocesses", None):
        share()


def _own_temporary_folder(base: Path) -> None:
    """Below pytest's folder of this session, which goes if nothing failed, and else with the next session that ends.

    Libraries leave folders there wherever a process is killed, which tests do, and torchrun leaves one each time. The
    name is short: paths of sockets have at most 107 bytes.
    """
    multiprocessing.util.get_temp_dir()  # this process removes it when the session's folder is gone
    folder = base / "t"
    folder.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    for lock in base.parent.glob("pytest-*[0-9]/.lock"):  # of killed sessions, in which pytest believes for three days
        with suppress(OSError, ValueError):
            if not is_alive(int(lock.read_text())):
                lock.unlink()
