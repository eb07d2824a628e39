"""CLIP vision towers: the encoder of llava and share4v, in a folder of its own or inside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import CheckpointError, first_line
from common.files.json_text import as_record
from common.models.checkpoints.config_files import TowerValues, given, read_config
from common.models.checkpoints.key_maps import KeyMap, rename
from common.paths import display

# Tensor names below `vision_model.`, and the parts of a whole CLIP model that only its text side needs.
CLIP_VISION = KeyMap((rename("{}", "{}"),), ("embeddings.position_ids",))
CLIP_MODEL = CLIP_VISION.prefixed(file="vision_model.") + KeyMap(
    (), ("text_model.{}", "logit_scale", "visual_projection.weight", "text_projection.weight")
)


def build_tower(values: Mapping[str, Any], where: str) -> Any:
    """An empty CLIPVisionModel for the values of a vision config. Raises CheckpointError if they make none."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = given(as_record(dict(values), TowerValues, where))
    sizes.pop("model_type", None)
    try:
        return CLIPVisionModel(CLIPVisionConfig(**sizes, attention_dropout=0.0))
    except Exception as error:  # each of transformers' checks raises an error of its own
        raise CheckpointError(f"{where} makes no CLIP vision tower: {first_line(error)}") from None


def read_tower_config(folder: Path) -> dict[str, Any]:
    """The vision part of a tower folder's config.json: of a whole CLIP or of the vision model alone.

    Raises CheckpointError if the file describes something else.
    """
    values = read_config(folder / "config.json")
    kind = values.get("model_type")
    bare = kind is None and "patch_size" in values
    if kind not in ("clip", "clip_vision_model") and not bare:
        raise CheckpointError(f"{display(folder)} is no CLIP vision tower (its model_type is {kind})")
    nested = values.get("vision_config")
    return dict(nested) if isinstance(nested, dict) else values


def tower_config_from_shapes(shapes: Mapping[str, torch.Size], heads: int | None) -> dict[str, Any]:
    """The vision config of tower tensors that come without one (names below `vision_model.`).

    `heads`: number of attention heads; None: 64 channels each, as in every published tower of this kind.
    """
    patch = shapes["embeddings.patch_embedding.weight"]
    hidden, side = patch[0], patch[2]
    grid = round((shapes["embeddings.position_embedding.weight"][0] - 1) ** 0.5)
    layers = {name.split(".")[2] for name in shapes if name.startswith("encoder.layers.")}
    return {
        "hidden_size": hidden,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads or max(1, hidden // 64),
        "image_size": grid * side,
        "patch_size": side,
    }
