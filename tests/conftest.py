"""For all tests: a slow machine makes no property false, and CI tries the same examples each time."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")
