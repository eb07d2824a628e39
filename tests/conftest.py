"""For all tests: a slow machine makes no property false, CI tries the same examples each time, and test processes that
run side by side fork scripts from one server.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.forks.scripts import share

settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Before the processes of `-n` are started."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        share()
