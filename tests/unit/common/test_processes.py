"""Which process of a launch this one is."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from common.errors import ArgumentError
from common.processes import Process, is_first, is_running, this_process, usable_cores

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def launched(monkeypatch, *values):
    """Set what a launcher sets."""
    for name, value in zip(NAMES, values, strict=True):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(value))


def test_a_script_started_by_itself_is_alone(monkeypatch):
    launched(monkeypatch, None, None, None, None)
    assert this_process() == Process()
    assert this_process().is_alone
    assert is_first()


def test_the_launchers_numbers_are_taken(monkeypatch):
    launched(monkeypatch, 5, 8, 1, 4)
    assert this_process() == Process(5, 8, 1, 4)
    assert not is_first()


@pytest.mark.parametrize("values", [(2, 2, 0, 1), (-1, 2, 0, 1), (0, 2, 3, 2), ("x", 2, 0, 1), (0, "two", 0, 1)])
def test_numbers_that_cannot_be_are_one_line(monkeypatch, values):
    launched(monkeypatch, *values)
    with pytest.raises(ArgumentError) as error:
        this_process()
    assert "\n" not in str(error.value)


def test_processes_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    launched(monkeypatch, 1, 4, 1, 4)
    assert usable_cores() == 4
    launched(monkeypatch, 0, 64, 0, 64)
    assert usable_cores() == 1


LOADER = """
import multiprocessing, os, time
from common.processes import leave_signals_to_parent
def work():
    leave_signals_to_parent()
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
for _ in range(3):
    multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(60)
"""


def test_workers_of_a_loader_end_with_a_killed_parent_at_once():
    """Each, though those that were forked later hold what the earlier ones listen to."""
    with subprocess.Popen([sys.executable, "-c", LOADER], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(3)]
        assert all(map(is_running, workers))
        parent.kill()
        until = time.monotonic() + 3
        while any(map(is_running, workers)):
            assert time.monotonic() < until
            time.sleep(0.01)
