"""Errors that speak to the user: what value, where it came from, what to do.

Every error that a user can cause derives from :class:`UserError`; scripts print its text as one line and exit
with code 2 (see :mod:`common.cli`). Anything else is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

LONGEST_MESSAGE = 400  # characters of an error; what is cut is in the middle, so that place and advice stay


def plain(text: str, longest: int | None = None) -> str:
    """Text of any origin as one line that no terminal obeys: the one place where data are made fit to be shown.

    Line breaks, tabs and their like become spaces; whatever else is not printable (escape sequences, marks of
    direction, halves of surrogate pairs) is spelled out as `\\x1b`. A text above `longest` loses its middle.
    """
    shown = "".join(_visible(c) for c in text)
    if longest is None or len(shown) <= longest:
        return shown
    head = (longest - 5) * 2 // 3
    return f"{shown[:head]} ... {shown[len(shown) - (longest - 5 - head) :]}"


def plain_lines(text: str) -> str:
    """The same for a text of several lines, such as a table, whose own line breaks stay."""
    return "\n".join(plain(line) for line in text.split("\n"))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape", "surrogatepass").decode("ascii")


INTERRUPTED = "interrupted; run the same command again to continue"


class DryRunEnds(Exception):
    """A dry run has come to what only an earlier step could make; the message says which. Not an error: code 0."""


class UserError(Exception):
    """Base of all errors that the user can mend. The message is one line of bounded length, fit for a terminal.

    Attributes:
        told: whether another process of the same launch says it.
        ours: whether, of several processes, this is the one to say it.
    """

    told = False
    ours = False

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(str(message), LONGEST_MESSAGE))


class ArgumentError(UserError):
    """A flag, preset, model name or configuration key that does not exist or does not fit the others."""


class DataError(UserError):
    """A file or folder that is missing, malformed or empty; the message names the file and line."""


class CheckpointError(UserError):
    """Weights that are missing, of another model, of another shape, or unsafe to read."""


class MissingDependencyError(UserError):
    """An optional package that a chosen option needs; the message holds the install command."""


class ResourceError(UserError):
    """The machine has too little memory for what is asked; the message says how much is needed and what helps."""


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's text, for messages of our own; its type's name where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


NEAR = 0.75  # likeness from which a name counts as a slip of another


def near(name: str, known: Collection[str]) -> str:
    """The known name that is meant, whatever its capitals; empty if none is near."""
    lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=NEAR)
    return lower[found[0]] if found else ""


def suggestion(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' for the nearest known name, or the list of names if it is short."""
    meant = near(name, known)
    if meant:
        return f"; did you mean {meant}?"
    return f"; known: {', '.join(known)}" if len(known) <= 12 else "; see --help"
