"""A flag as a dataclass field: its help, its closed set of values, its range."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

FLAG = "flag"  # where a field's metadata holds its Flag
PATH_ENDINGS = ("_path", "_dir", "_model", "_cfg", "root", "cache_image_features", "clip_pretrained")


@dataclass(frozen=True)
class Flag:
    """What is known of a flag beside its name, type and default.

    Attributes:
        help: one line for `--help`.
        choices: the values that it may have; None: any.
        least, above: the number is at least, or more than, this.
        most: and at most this.
    """

    help: str
    choices: tuple[str, ...] | None = None
    least: float | None = None
    above: float | None = None
    most: float | None = None

    def range_words(self) -> str:
        """The range as it follows 'a number': ' from 1', ' above 0 and at most 1'; empty without one."""
        low = f" from {self.least:g}" if self.least is not None else ""
        low = f" above {self.above:g}" if self.above is not None else low
        if self.most is None:
            return low
        return f"{low} {'and at most' if self.above is not None else 'to'} {self.most:g}"

    def holds(self, number: float) -> bool:
        """Whether the number is in the range."""
        return (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
        )


def flag(
    default: Any,
    text: str,
    choices: Sequence[str] | None = None,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with help text and, where given, a closed set of values or a range of numbers."""
    told = Flag(text, None if choices is None else tuple(choices), least, above, most)
    metadata = {FLAG: told, "help": text}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def seed_flag(text: str) -> Any:
    """A seed: 0 by default, at most what every library takes."""
    return flag(0, text, least=0, most=2**32 - 1)


@dataclass(frozen=True)
class Option:
    """One flag of a script: a field of one of its groups.

    Attributes:
        name: without the dashes.
        kind: bool, int, float or str; of each element where `many`.
        optional: nothing may be given for it (None).
        many: it takes several values.
        default: None where there is none.
        group: the dataclass that it belongs to.
    """

    name: str
    kind: type
    optional: bool
    many: bool
    default: Any
    flag: Flag
    group: type

    @property
    def is_path(self) -> bool:
        """Whether its value names a file, a folder or a model, in which `~` and `$NAME` are replaced."""
        return self.kind is str and self.flag.choices is None and self.name.endswith(PATH_ENDINGS)


def options(groups: Sequence[type]) -> dict[str, Option]:
    """All flags of the groups by name, in their order; where a name stands twice, the first counts for its help."""
    found: dict[str, Option] = {}
    for group in groups:
        hints = typing.get_type_hints(group)
        for f in fields(group):
            if f.init:
                found.setdefault(f.name, _option(f, hints[f.name], group))
    return found


def _option(f: Field[Any], hint: Any, group: type) -> Option:
    optional = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType] if optional else [hint]
    many = typing.get_origin(kinds[0]) is list
    kind = typing.get_args(kinds[0])[0] if many else kinds[0]
    if typing.get_origin(kind) is typing.Literal:
        kind = str
    default = f.default_factory() if callable(f.default_factory) else f.default
    told = f.metadata.get(FLAG) or Flag(f.metadata.get("help", ""))
    return Option(f.name, kind, optional, many, default, told, group)
