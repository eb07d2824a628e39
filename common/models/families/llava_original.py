"""The original layout of LLaVA-1.5 and ShareGPT4V: a flat folder, and the vision tower beside it or inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.files.hub import hub_id, local
from common.models.checkpoints.files import TensorFiles, open_file, open_folder
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.checkpoints.loading import Source
from common.models.parts.clip_tower import CLIP_MODEL, CLIP_VISION, read_tower_config, tower_config_from_shapes
from common.models.parts.llama import LLAMA
from common.paths import display

TOWER_INSIDE = "model.vision_tower.vision_tower.vision_model."
PROJECTOR = KeyMap((rename("model.mm_projector.{}", "connector.{}"),))
ORIGINAL_LAYOUT = PROJECTOR + CLIP_VISION.prefixed(TOWER_INSIDE, "vision.") + LLAMA.prefixed(module="lm.")
# mm_projector.bin repeats the projector; fine-tunes put the embedding beside it, which the published code passes over.
PROJECTOR_FILE = KeyMap(
    (
        rename("model.mm_projector.{}", "connector.{}"),
        rename("mm_projector.{}", "connector.{}"),
        rename("base_model.model.model.mm_projector.{}", "connector.{}"),
    ),
    ("model.embed_tokens.weight", "lm_head.weight"),
)


@dataclass(frozen=True)
class OriginalParts:
    """Where the parts of an original checkpoint are.

    Args:
        sources: tensors, later ones over earlier ones.
        vision_config: sizes of the tower.
        tower_folder: where a separate tower lies, with its preprocessor_config.json; None if it is inside.
        layers: hidden states of the tower that the projector gets.
        keep_class_token: whether the class token goes with the patches.
    """

    sources: tuple[Source, ...]
    vision_config: dict[str, Any]
    tower_folder: Path | None
    layers: tuple[int, ...]
    keep_class_token: bool


def find_parts(
    path: Path, config: Mapping[str, Any], name: str, vit_path: str | Path | None, heads: int | None
) -> OriginalParts:
    """Find all tensors of an original folder; a tower inside wins over a separate one.

    Raises CheckpointError if the tower is nowhere, naming the flag that gives it.
    """
    main = open_folder(path, name, f"--{name}_path")
    sources = [Source(main, ORIGINAL_LAYOUT)]
    inside = {key.removeprefix(TOWER_INSIDE): s for key, s in main.shapes().items() if key.startswith(TOWER_INSIDE)}
    folder = None
    if inside:
        vision = tower_config_from_shapes(inside, heads)
    else:
        folder = find_tower(path, config, name, vit_path)
        vision = read_tower_config(folder)
        tower = open_folder(folder, "vision tower", f"--{name}_vit_path")
        sources.append(Source(tower, tower_layout(tower)))
    if (path / "mm_projector.bin").is_file():
        sources.append(Source(open_file(path / "mm_projector.bin", "projector", f"--{name}_path"), PROJECTOR_FILE))
    feature = config.get("mm_vision_select_feature") or "patch"
    if feature not in ("patch", "cls_patch"):
        raise CheckpointError(f"{display(path / 'config.json')}: mm_vision_select_feature {feature} is not supported")
    layer = -2 if config.get("mm_vision_select_layer") is None else int(config["mm_vision_select_layer"])
    return OriginalParts(tuple(sources), vision, folder, (layer,), feature == "cls_patch")


def tower_layout(tower: TensorFiles) -> KeyMap:
    """Names in a separate tower: those of a whole CLIP, or of its vision model without a level above."""
    whole = any(name.startswith("vision_model.") for name in tower.shapes())
    return (CLIP_MODEL if whole else CLIP_VISION).prefixed(module="vision.")


def find_tower(path: Path, config: Mapping[str, Any], name: str, vit_path: str | Path | None) -> Path:
    """The tower's folder: as given, or as config.json names it, from here or from the checkpoint.

    Raises CheckpointError with the flag if there is no such folder.
    """
    named = vit_path or config.get("mm_vision_tower")
    if not named:
        raise CheckpointError(f"{display(path)} names no vision tower; give its folder with --{name}_vit_path")
    places = [Path(named)] if vit_path else [Path(named), path / named, path.parent / named]
    for place in places + ([] if vit_path else [path.parent / Path(named).name]):
        if place.is_dir():
            return place
    if not vit_path and hub_id(str(named), "config.json"):
        return Path(local(str(named), f"{display(path / 'config.json')}, which --{name}_vit_path overrides"))
    raise CheckpointError(f"no vision tower folder {named}; download it and give it with --{name}_vit_path")
