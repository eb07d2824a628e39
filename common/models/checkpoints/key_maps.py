"""Maps between the tensor names of a file layout and those of our modules, in both directions.

A layout is data: rules (templates on both sides; `{i}` stands for a number, `{}` for any text, both are carried over)
and a list of named exceptions, tensors that a file may hold and that nothing here needs. Every tensor is one or the
other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from common.errors import CheckpointError

_HOLES = re.compile(r"(\{i?\})")
Convert = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def unchanged(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The conversion of a plain renaming."""
    return tensors


@dataclass(frozen=True)
class Rule:
    """Tensors of a file that together make tensors of the model.

    Args:
        files, modules: name templates of either side; all share the same holes.
        load, save: file tensors -> module tensors, and back, in the order of the templates.
    """

    files: tuple[str, ...]
    modules: tuple[str, ...]
    load: Convert = unchanged
    save: Convert = unchanged


def rename(file: str, module: str) -> Rule:
    """A rule that only changes the name."""
    return Rule((file,), (module,))


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    kinds = {"{}": "(.+?)", "{i}": r"(\d+)"}
    return re.compile("".join(kinds.get(part) or re.escape(part) for part in _HOLES.split(template)))


def _fill(template: str, parts: Sequence[str]) -> str:
    left = iter(parts)
    return _HOLES.sub(lambda _: next(left), template)


@dataclass(frozen=True)
class KeyMap:
    """All rules of one layout, first match wins, and the templates of the named exceptions.

    `open_ended`: the file is known to hold anything besides; what no rule names is passed over.
    """

    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    open_ended: bool = False

    def __add__(self, other: KeyMap) -> KeyMap:
        return KeyMap(self.rules + other.rules, self.ignored + other.ignored, self.open_ended or other.open_ended)

    def prefixed(self, file: str = "", module: str = "") -> KeyMap:
        """The same map with a prefix on the file names (exceptions too) and one on the module names."""
        rules = tuple(
            replace(
                rule,
                files=tuple(file + name for name in rule.files),
                modules=tuple(module + name for name in rule.modules),
            )
            for rule in self.rules
        )
        return KeyMap(rules, tuple(file + name for name in self.ignored), self.open_ended)

    def is_ignored(self, name: str) -> bool:
        """Whether the file tensor is one of the named exceptions."""
        if any(_pattern(template).fullmatch(name) for template in self.ignored):
            return True
        return self.open_ended and _find(self.rules, name, files=True) is None

    def to_modules(self, tensors: Iterable[tuple[str, Tensor]], where: str) -> Iterator[tuple[str, Tensor]]:
        """Convert (file name, tensor) pairs to (module name, tensor) pairs as soon as a rule has all it needs.

        Raises CheckpointError, naming `where`, for names that are neither mapped nor named exceptions and for rules
        that were left incomplete.
        """
        yield from _convert(self, tensors, where, files=True)

    def to_files(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Convert (module name, tensor) pairs back to the names and shapes of the file layout."""
        yield from _convert(self, tensors, "the model", files=False)


def _find(rules: Sequence[Rule], name: str, files: bool) -> tuple[Rule, tuple[str, ...]] | None:
    for rule in rules:
        for template in rule.files if files else rule.modules:
            match = _pattern(template).fullmatch(name)
            if match:
                return rule, match.groups()
    return None


def _convert(
    layout: KeyMap, tensors: Iterable[tuple[str, Tensor]], where: str, files: bool
) -> Iterator[tuple[str, Tensor]]:
    waiting: dict[tuple[int, tuple[str, ...]], dict[str, Tensor]] = {}
    strangers: list[str] = []
    for name, tensor in tensors:
        if files and layout.is_ignored(name):
            continue
        hit = _find(layout.rules, name, files)
        if hit is None:
            strangers.append(name)
            continue
        rule, parts = hit
        have = waiting.setdefault((id(rule), parts), {})
        have[name] = tensor
        sources, results = (rule.files, rule.modules) if files else (rule.modules, rule.files)
        needed = [_fill(template, parts) for template in sources]
        if all(key in have for key in needed):
            del waiting[(id(rule), parts)]
            made = (rule.load if files else rule.save)([have[key] for key in needed])
            yield from zip((_fill(template, parts) for template in results), made, strict=True)
    _report(strangers, waiting, where)


def _report(strangers: list[str], waiting: Mapping[Any, Mapping[str, Tensor]], where: str) -> None:
    if strangers:
        raise CheckpointError(
            f"{where} holds {len(strangers)} tensors that this model does not have, e.g. {strangers[0]}; "
            "it is of another model or layout: check --model and the path"
        )
    if waiting:
        lonely = next(name for have in waiting.values() for name in have)
        raise CheckpointError(f"{where} holds {lonely} without the tensors that belong with it; copy it again")
