"""The command line as argparse sees it: words into flags and texts, and a `--help` that a person can read."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

import shtab

from common.arguments.completion import add_completion
from common.arguments.fields import Option
from common.arguments.groups import MODEL_FAMILIES
from common.arguments.values import Given
from common.errors import ArgumentError

CONFIG = "config"
NEGATIVE = re.compile(r"-(\d|\.\d)")
METAVARS = {int: "N", float: "X", bool: "yes|no"}
WIDTH = 100


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Flags with the name of their value, once; help beside them where there is room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(shutil.get_terminal_size().columns, WIDTH))

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return str(action.metavar or default_metavar)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        name = ", ".join(action.option_strings)
        return name if action.nargs == 0 or not action.metavar else f"{name} {action.metavar}"


class CommandLine(argparse.ArgumentParser):
    """All flags of a script. Values stay texts here; `common/arguments/values.py` reads them."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage. Raises ArgumentError always."""
        raise ArgumentError(f"{message}; see --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Choices are checked where values are read."""


def command_line(
    known: Mapping[str, Option], description: str, family: str | None, silent: Sequence[str] = ()
) -> CommandLine:
    """The flags in titled groups.

    Args:
        known: the script's flags.
        description: text on top of the help.
        family: the chosen model family, if one was named; the help then leaves out the flags of the others.
        silent: names of further flags that are read, and never in the help.
    """
    parser = CommandLine(
        usage="%(prog)s [--config FILE] [--flag value ...]",
        description=description.strip(),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    add_completion(parser)
    parser.add_argument(f"--{CONFIG}", nargs="*", metavar="FILE", help="YAML file of flags; the command line wins")
    sections: dict[str, Any] = {}
    for option in known.values():
        of = family_of(option.name)
        title = title_of(option.group) if of is None else f"Model family {of} (--model {of})"
        if title not in sections:
            sections[title] = parser.add_argument_group(title)
        hidden = family is not None and of is not None and of != family
        _add(sections[title], option, argparse.SUPPRESS if hidden else help_of(option))
    for name in silent:
        parser.add_argument(f"--{name}", nargs="*", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add(section: Any, option: Option, text: str) -> None:
    action = section.add_argument(
        f"--{option.name}", nargs="*", default=argparse.SUPPRESS, help=text, metavar=metavar_of(option)
    )
    action.choices = option.flag.choices
    if option.is_path:
        action.complete = shtab.FILE


def title_of(group: type) -> str:
    """A group's title: the first sentence of its docstring."""
    return re.split(r"[.:;](?:\s|$)", (group.__doc__ or group.__name__).strip(), maxsplit=1)[0].replace("\n", " ")


def family_of(name: str) -> str | None:
    """The model family that a flag belongs to; None for one that all have."""
    return next((family for family in MODEL_FAMILIES if name.startswith(f"{family}_")), None)


def metavar_of(option: Option) -> str:
    """What stands for the value in the help."""
    if option.flag.choices is not None:
        return "|".join(option.flag.choices)
    if option.kind is bool and option.default is False:
        return ""
    one = "PATH" if option.is_path else METAVARS.get(option.kind, "TEXT")
    return f"{one} ..." if option.many else one


def help_of(option: Option) -> str:
    """The help, with the default where there is one and the text does not name it."""
    text, default = option.flag.help.replace("%", "%%"), option.default
    said = default is None or default == "" or default is False or option.many or "default" in text
    return text if said else f"{text} (default: {str(default).replace('%', '%%')})"


def given_on(line: Sequence[str], parser: CommandLine) -> dict[str, Given]:
    """Flag name -> the words after it. Raises ArgumentError for words that belong to no flag."""
    found, rest = parser.parse_known_args(list(_joined(line)))
    if rest:
        raise ArgumentError(f"'{rest[0]}' belongs to no flag; values follow their flag, as in --seed 1")
    return {name: Given(tuple(texts)) for name, texts in vars(found).items() if texts is not None}


def _joined(line: Sequence[str]) -> Iterator[str]:
    """The words; a negative number is joined to its flag, as argparse would take it for a flag."""
    words = list(line)
    for i, word in enumerate(words):
        if NEGATIVE.match(word) and i and words[i - 1].startswith("--"):
            continue
        follower = words[i + 1] if i + 1 < len(words) else ""
        yield f"{word}={follower}" if word.startswith("--") and NEGATIVE.match(follower) else word


def groups_into(groups: Sequence[type], values: Mapping[str, Any]) -> tuple[Any, ...]:
    """One instance a group, from the values that were given and its own defaults."""
    return tuple(group(**{f.name: values[f.name] for f in fields(group) if f.name in values}) for group in groups)
