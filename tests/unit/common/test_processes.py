"""Which process of a launch this one is."""

from __future__ import annotations

import os

import pytest

from common.errors import ArgumentError
from common.processes import Process, is_first, this_process, usable_cores

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
