"""From a command line and an optional YAML file to the groups of a script."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from common.arguments.blocks import STEPS, flags_of
from common.arguments.command_line import CONFIG, command_line, given_on, groups_into
from common.arguments.config_file import read_config
from common.arguments.fields import Option, options
from common.arguments.groups import MODEL_FAMILIES
from common.arguments.published import FATES, translated
from common.arguments.values import Given, value_of
from common.errors import ArgumentError, near

ALWAYS = ("help", CONFIG, "print_completion")


def parse(
    groups: Sequence[type], description: str, argv: Sequence[str] | None = None, step: str | None = None
) -> tuple[Any, ...]:
    """Read the groups from the command line (`argv`, or the process's) over an optional `--config` file.

    Args:
        step: the name of the script's block in a file of several steps (`common/arguments/blocks.py`).

    Returns one instance per group. Raises ArgumentError for unknown flags or keys and malformed values.
    """
    line = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    known = options(groups)
    _refuse_unknown(line, known)
    old = [name for name in FATES if name not in known]
    given = given_on(line, command_line(known, description, _family(line), old))
    config = given.pop(CONFIG, None)
    given = translated(given, known)
    if config is not None:
        given = _from_file(config, step, known, old) | given
    return groups_into(groups, {name: value_of(known[name], texts) for name, texts in given.items()})


def _underscored(word: str) -> str:
    """A flag with underscores, however it was written."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else word


def _family(line: Sequence[str]) -> str | None:
    """The model family that the line names, for its help."""
    words = [word for item in line for word in item.split("=", 1)]
    after = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--model"]
    return after[-1] if after and after[-1] in MODEL_FAMILIES else None


def _from_file(config: Given, step: str | None, known: Mapping[str, Option], old: Sequence[str]) -> dict[str, Given]:
    if len(config.texts) != 1:
        raise ArgumentError(f"--{CONFIG} has {len(config.texts) or 'no'} values; give one YAML file")
    found = translated(read_config(config.texts[0], step, [*known, *old]), known)
    # Nothing after a key is a value only where a flag may be left unset.
    return {name: given for name, given in found.items() if given.texts or known[name].default is not None}


def _refuse_unknown(line: Sequence[str], known: Mapping[str, Option]) -> None:
    names = [*known, *ALWAYS]
    for word in line:
        flag = word.partition("=")[0]
        name = flag.lstrip("-")
        if flag.startswith("--") and len(flag) > 2 and name not in names and name not in FATES:
            raise ArgumentError(f"unknown flag {flag}{_instead(name, names)}")
        if flag.startswith("-") and not flag.startswith("--") and name in names and len(name) > 1:
            raise ArgumentError(f"unknown flag {flag}; did you mean --{name}?")


def _instead(name: str, names: Sequence[str]) -> str:
    others = [module.replace(".", "/") + ".py" for step, module in STEPS.items() if name in flags_of(step)]
    if others:
        return f"; it belongs to {', '.join(others[:3])}"
    meant = near(name, names)
    return f"; did you mean --{meant}?" if meant else "; see --help"
