"""From the text of a value to the value: one way for the command line and for YAML, with one message for both."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arguments.fields import Option
from common.errors import ArgumentError, near

YES = ("true", "yes", "on", "t", "y", "1")
NO = ("false", "no", "off", "f", "n", "0")
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
LARGEST = 2**63 - 1  # of whole numbers: what the libraries take
SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True)
class Given:
    """What was given for a flag.

    Attributes:
        texts: the values as they were written; none: the flag alone.
        source: the YAML file that it stands in; empty for the command line.
    """

    texts: tuple[str, ...]
    source: str = ""

    def refuse(self, message: str) -> ArgumentError:
        """An error that names the file, where there is one."""
        return ArgumentError(f"{self.source}: {message}" if self.source else message)


def value_of(option: Option, given: Given) -> Any:
    """The value. Raises ArgumentError: none or several where one is needed, of another type, or out of its range."""
    texts = given.texts
    if option.many:
        if not texts:
            raise given.refuse(f"--{option.name} has no value; give {_wanted(option)}")
        return [_single(option, text, given) for text in texts]
    if not texts and option.kind is bool and not given.source:
        return True  # the flag alone; in a file a key without a value is a slip
    if not texts:
        raise given.refuse(f"--{option.name} has no value; give {_wanted(option)}")
    if len(texts) > 1:
        raise given.refuse(f"--{option.name} has {len(texts)} values ({_short(', '.join(texts))}); give one")
    return _single(option, texts[0], given)


def _single(option: Option, text: str, given: Given) -> Any:
    value = _converted(option, text)
    if value is None:
        meant = near(text, option.flag.choices or ())
        hint = f"; did you mean {meant}?" if meant else ""
        raise given.refuse(f"--{option.name} is '{_short(text)}'; give {_wanted(option)}{hint}")
    if "\0" in text:
        raise given.refuse(f"--{option.name} holds a byte 0, which ends a name; remove it")
    if option.is_path:
        value = expanded(value, option.name, given)
    if isinstance(value, str) and not _is_unicode(value):
        raise given.refuse(f"--{option.name} is '{_short(value)}', which is no UTF-8; rename it")
    return value


def _is_unicode(text: str) -> bool:
    """Whether a text can be written down, as every value is in a manifest; names of files may hold any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _converted(option: Option, text: str) -> Any:
    """The value; None if the text is not one."""
    if option.kind is bool:
        lower = text.strip().lower()
        return True if lower in YES else False if lower in NO else None
    if option.kind is str:
        return text if option.flag.choices is None or text in option.flag.choices else None
    try:
        number = option.kind(text)
    except ValueError:
        return None
    usable = abs(number) <= LARGEST if isinstance(number, int) else math.isfinite(number)
    return number if usable and option.flag.holds(number) else None


def _wanted(option: Option) -> str:
    if option.kind is bool:
        return "true or false"
    if option.flag.choices is not None:
        return ", ".join(option.flag.choices[:-1]) + f" or {option.flag.choices[-1]}"
    kind = {int: "a whole number", float: "a number", str: "a text"}.get(option.kind, "a value")
    return "a path" if option.is_path else kind + option.flag.range_words()


def expanded(text: str, name: str, given: Given) -> str:
    """A path with `~` and `$NAME` replaced. Raises ArgumentError for a variable that is not set."""

    def variable(match: re.Match[str]) -> str:
        """The variable's value."""
        key = match[1] or match[2]
        if key not in os.environ:
            raise given.refuse(f"--{name} is '{_short(text)}', but the variable {key} is not set")
        return os.environ[key]

    text = VARIABLE.sub(variable, text)
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise given.refuse(f"--{name} is '{_short(text)}', but there is no such home folder") from None


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
