"""The YAML file of `--config`: every value as the text that would be typed, so that it is checked like a flag's.

What a script takes of a file with blocks of several steps is said in `common/arguments/blocks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from common.arguments.blocks import STEPS, own_values
from common.arguments.values import Given
from common.errors import ArgumentError, first_line
from common.files.storage import home, read_text, require_file
from common.paths import display

NULL = "tag:yaml.org,2002:null"
MERGE = "<<"


def read_config(path: str, step: str | None, known: Collection[str]) -> dict[str, Given]:
    """Flag name -> what the file holds for this script; a key with nothing after it is a flag without a value.

    Args:
        path: the value of `--config`.
        step: of the script, for its block.
        known: names of its flags.

    Raises ArgumentError, naming the file: not YAML, no mapping, an unknown or repeated key, an unknown step; DataError:
    no such file.
    """
    file = require_file(home(path, "--config"), "--config")
    source = display(file)
    entries = _Nodes(source, frozenset(known)).entries(read_text(file))
    return own_values(entries, known, step, source)


@dataclass(frozen=True)
class _Nodes:
    """From YAML's nodes, which still have the words as they were written, to what was given."""

    source: str
    known: frozenset[str]

    def refuse(self, message: str) -> ArgumentError:
        """An error that names the file."""
        return ArgumentError(f"{self.source}: {message}")

    def entries(self, text: str) -> dict[str, Any]:
        """Name -> what was given, or for a block a mapping of such. Raises ArgumentError for what is no such YAML."""
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            return {} if root is None else self._mapping(loader, root)
        except yaml.YAMLError as error:
            mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None)
            where = f":{mark.line + 1}" if mark is not None else ""
            why = what or first_line(error)
            raise ArgumentError(f"{self.source}{where} (from --config) is not YAML: {why}") from None
        except RecursionError:
            raise self.refuse("values are nested too deep") from None

    def _mapping(self, loader: yaml.SafeLoader, root: yaml.Node) -> dict[str, Any]:
        if not isinstance(root, yaml.MappingNode):
            raise self.refuse("must be a mapping of flag names to values")
        return {name: self._entry(loader, name, node) for name, node in self._pairs(loader, root, "").items()}

    def _entry(self, loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Given | Mapping[str, Given] | str | None:
        if name in self.known or (name not in STEPS and not isinstance(node, yaml.MappingNode)):
            return self._given(name, node)
        if isinstance(node, yaml.MappingNode):
            block = self._pairs(loader, node, f" in the block {name}")
            return {key: self._given(key, value) for key, value in block.items()}
        return None if node.tag == NULL else str(node.value)

    def _pairs(self, loader: yaml.SafeLoader, node: yaml.MappingNode, where: str) -> dict[str, yaml.Node]:
        """The entries by name, merges (`<<`) below them. Raises ArgumentError for a name that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = _name(key)
            if name in seen and name != MERGE:
                raise self.refuse(f"{name} stands there twice{where}; remove one")
            seen.add(name)
        loader.flatten_mapping(node)
        return {_name(key): value for key, value in node.value}

    def _given(self, name: str, node: yaml.Node) -> Given:
        if isinstance(node, yaml.ScalarNode):
            return Given(() if node.tag == NULL else (node.value,), self.source)
        if isinstance(node, yaml.MappingNode):
            raise self.refuse(f"--{name} is a mapping; give one value")
        if any(not isinstance(value, yaml.ScalarNode) for value in node.value):
            raise self.refuse(f"--{name} holds values within values; give one value")
        return Given(tuple(value.value for value in node.value), self.source)


def _name(key: yaml.Node) -> str:
    return key.value.replace("-", "_") if isinstance(key, yaml.ScalarNode) else "?"
