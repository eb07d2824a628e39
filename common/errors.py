"""Errors that speak to the user: what value, where it came from, what to do.

Every error that a user can cause derives from :class:`UserError`; scripts print its text as one line and exit
with code 2 (see :mod:`common.cli`). Anything else is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """Base of all errors that the user can mend. The message is one line."""


class ArgumentError(UserError):
    """A flag, preset, model name or configuration key that does not exist or does not fit the others."""


class DataError(UserError):
    """A file or folder that is missing, malformed or empty; the message names the file and line."""


class CheckpointError(UserError):
    """Weights that are missing, of another model, of another shape, or unsafe to read."""


class MissingDependencyError(UserError):
    """An optional package that a chosen option needs; the message holds the install command."""


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's text, for messages of our own; its type's name where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def suggestion(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' for the nearest known name, or the list of names if it is short."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(known)}" if len(known) <= 12 else "; see --help"
