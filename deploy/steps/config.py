"""The pipeline's YAML file: shared values on top, a block for each step that is to be run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.arguments.blocks import STEPS, flags_of, own_values
from common.errors import ArgumentError, first_line
from common.files.storage import UniqueKeys, home, read_text, require_file
from common.paths import display

PIPELINE = "pipeline"
NULL = "tag:yaml.org,2002:null"
Values = dict[str, Any]  # flag -> the text that was written, a list of such, or None


@dataclass(frozen=True)
class PipelineConfig:
    """What the file says.

    Args:
        where: the file, for messages.
        shared: values on top.
        blocks: step -> its own values, in the order of the work.
    """

    where: str
    shared: Values
    blocks: dict[str, Values]

    def of(self, step: str) -> Values:
        """All values of a step: the shared ones that it knows, under its own. Raises ArgumentError for unknown ones."""
        return own_values({**self.shared, **self.blocks}, flags_of(step), step, self.where)


def read_config(path: Path | str) -> PipelineConfig:
    """Read the file, every value as the text that was written, as the scripts do.

    Raises DataError for a missing file, ArgumentError for what is not YAML, holds no block, or names an unknown step.
    """
    file = require_file(home(path, "--config"), "--config")
    return make_config(read_values(file), display(file))


def make_config(values: Mapping[str, Any], where: str) -> PipelineConfig:
    """The same of values that are there already. Raises ArgumentError."""
    if not any(key in STEPS or isinstance(value, Mapping) for key, value in values.items() if key != PIPELINE):
        raise ArgumentError(f"{where} holds no block of a step; write one for each to be run: {', '.join(STEPS)}")
    own_values(values, flags_of(PIPELINE), PIPELINE, where)  # refuses unknown blocks and shared values
    blocks = {step: dict(values[step] or {}) for step in STEPS if step in values}
    return PipelineConfig(where, {k: v for k, v in values.items() if k not in STEPS}, blocks)


def read_values(file: Path) -> Values:
    """Names and values of a YAML file, blocks as mappings. Raises ArgumentError for what is not a mapping in YAML."""
    loader = UniqueKeys(read_text(file))
    try:
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ArgumentError(f"{display(file)} (from --config) must be a mapping of names to values")
        return {} if root is None else dict(_entries(loader, root))
    except yaml.YAMLError as error:
        raise ArgumentError(f"{display(file)} (from --config) is not YAML: {first_line(error)}") from None


def _entries(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[tuple[str, Any]]:
    loader.flatten_mapping(node)
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield key.value, dict(_entries(loader, value))
        elif isinstance(value, yaml.SequenceNode):
            yield key.value, [item.value for item in value.value]
        else:
            yield key.value, None if value.tag == NULL else value.value
