"""The lazy registry of model families: a name, where its adapter lives, which further files it may need."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import ArgumentError, suggestion
from common.files.hub import local, local_file

if TYPE_CHECKING:
    from common.args import ModelArguments
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class Family:
    """One line of the registry.

    Args:
        module, adapter: where the adapter class is.
        settings: keywords beyond path, ckpt, device and dtype.
        shared_flags: those of the settings whose flag does not carry the model's name.
        files: those of the settings that name a file, not a folder.
    """

    module: str
    adapter: str
    settings: tuple[str, ...] = ()
    shared_flags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    "llava": Family(
        "common.models.families.llava",
        "Llava",
        ("vit_path", "vit_num_heads", "image_aspect_ratio"),
        ("image_aspect_ratio",),
    ),
    "share4v": Family(
        "common.models.families.llava",
        "Share4v",
        ("vit_path", "vit_num_heads", "image_aspect_ratio"),
        ("image_aspect_ratio",),
    ),
    "owl": Family("common.models.families.owl", "Owl"),
    "minigpt": Family(
        "common.models.families.minigpt",
        "MiniGpt",
        ("vit_path", "llama_path", "qformer_path", "qformer_config", "config", "vit_num_heads", "qformer_num_heads"),
        files=("vit_path", "qformer_path"),
    ),
    "auto": Family("common.models.families.auto", "Auto", ("trust_remote_code",), ("trust_remote_code",)),
}
MODEL_NAMES: tuple[str, ...] = tuple(FAMILIES)
# Settings whose flag is named otherwise, as published.
FLAG_NAMES = {"config": "train_cfg"}


def adapter(name: str) -> type[CaptionModel]:
    """The adapter class of a family. Raises ArgumentError, with the nearest name, if there is none."""
    if name not in FAMILIES:
        near = suggestion(name, MODEL_NAMES)
        known = "" if near.startswith("; known") else f" (known: {', '.join(MODEL_NAMES)})"
        raise ArgumentError(f"unknown model {name} (from --model){near}{known}")
    family = FAMILIES[name]
    found: type[CaptionModel] = getattr(importlib.import_module(family.module), family.adapter)
    return found


def checked_paths(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given keywords without those that are None. Raises ArgumentError for one that the family does not take."""
    known = FAMILIES[name].settings
    for key in given:
        if key not in known:
            what = suggestion(key, known) if known else "; it takes none"
            raise ArgumentError(f"{name} takes no setting {key}{what}")
    return {key: value for key, value in given.items() if value is not None}


def settings_from_args(args: ModelArguments) -> dict[str, Any]:
    """The family's settings as the command line gives them. `--{model}_vit_path` becomes `vit_path` and so on.

    What a hub id names is fetched. Raises CheckpointError as :func:`common.files.hub.local`.
    """
    family = FAMILIES[args.model]
    flags = {
        key: key if key in family.shared_flags else f"{args.model}_{FLAG_NAMES.get(key, key)}"
        for key in family.settings
    }
    return {key: _here(family, key, getattr(args, flag, None), f"--{flag}") for key, flag in flags.items()}


def _here(family: Family, key: str, value: Any, flag: str) -> Any:
    """The setting, with the folder or file on this machine where it is a hub id."""
    if not isinstance(value, str) or not key.endswith("_path"):
        return value
    return local_file(value, flag) if key in family.files else local(value, flag)
