"""Blocks in a `--config` file: shared values on top, and below the name of a step the values of that step alone.

    model: llava                  # shared: taken by every step that has the flag
    image_dir_path: photos
    caption:                      # of insight/caption.py alone; wins over a shared value
      captions_per_image: 2
    train:
      max_steps: 200

A script takes the shared values that it knows and its own block; blocks of other steps are passed over, and so are
shared values of other steps. What no step knows is refused. A file without blocks is of one script, as ever.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from common.errors import ArgumentError, suggestion

# Steps in the order of the work, and the script of each. Its flags are the fields of the groups in its ARGUMENTS.
STEPS: dict[str, str] = {
    "prepare": "dataset.prepare",
    "draw": "dataset.mini.draw",
    "caption": "insight.caption",
    "objects": "insight.object",
    "score": "insight.clip",
    "browse": "insight.browse",
    "answers": "insight.answer",
    "format": "finetune.format_data",
    "train": "finetune.train",
    "caption_eval": "evaluate.eval_caption",
    "judge": "evaluate.eval_auto",
    "pope": "evaluate.eval_pope",
    "mme": "evaluate.eval_mme",
    "gqa": "evaluate.eval_gqa",
    "sqa": "evaluate.eval_sqa",
    "qbench": "evaluate.eval_qbench",
    "amber": "evaluate.eval_amber",
    "compare": "evaluate.compare",
    "report": "evaluate.report",
    "export": "deploy.export",
    "card": "deploy.card",
    "pipeline": "deploy.pipeline",
}


def flags_of(step: str) -> frozenset[str]:
    """Names of a step's flags, without dashes; imports its script."""
    groups = importlib.import_module(STEPS[step]).ARGUMENTS
    return frozenset(field.name for group in groups for field in fields(group))


def own_values(values: Mapping[str, Any], known: Collection[str], step: str | None, where: str) -> dict[str, Any]:
    """What one script takes of a file: the shared values that it knows, under those of its own block.

    Args:
        values: the file.
        known: names of the script's flags.
        step: its name in `STEPS`; None for a script that is no step, which has no block.
        where: the file, for messages.

    Raises ArgumentError for a block of an unknown step, for one that is no mapping, and for a key that is unknown: of
    the own block to this script, on top to every step (in a file without blocks, to this script).
    """
    blocks = {key: value for key, value in values.items() if is_block(key, value, known)}
    for name, block in blocks.items():
        _check_block(name, block, where)
    shared = {key: value for key, value in values.items() if key not in blocks}
    _check_shared([key for key in shared if key not in known], known, bool(blocks), where)
    own = dict(blocks.get(step) or {}) if step else {}
    for key in own:
        if key not in known:
            raise ArgumentError(f"{where}: unknown key {key} in the block {step}{suggestion(str(key), sorted(known))}")
    return {key: value for key, value in shared.items() if key in known} | own


def is_block(key: Any, value: Any, known: Collection[str]) -> bool:
    """Whether a key on top begins a block, rather than being a shared value."""
    return key not in known and (key in STEPS or isinstance(value, Mapping))


def _check_block(name: Any, block: Any, where: str) -> None:
    if name not in STEPS:
        raise ArgumentError(f"{where}: unknown step {name}{_near_step(str(name))}")
    if block is not None and not isinstance(block, Mapping):
        raise ArgumentError(f"{where}: {name} is a step; its values stand below it, indented, not '{block}' beside it")


def _check_shared(strangers: list[Any], known: Collection[str], has_blocks: bool, where: str) -> None:
    if not strangers:
        return
    everywhere = set(known).union(*(flags_of(step) for step in STEPS)) if has_blocks else set(known)
    for key in strangers:
        if key not in everywhere:
            raise ArgumentError(f"{where}: unknown key {key}{suggestion(str(key), sorted(everywhere))}")


def _near_step(name: str) -> str:
    near = suggestion(name, list(STEPS))
    return near if near.startswith("; did") else f"; steps: {', '.join(STEPS)}"
