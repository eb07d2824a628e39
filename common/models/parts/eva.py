"""EVA ViT-g as transformers' Blip2VisionModel: sizes from the tensors, names, and the queries' missing key bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from common.errors import CheckpointError
from common.models.checkpoints.key_maps import KeyMap, Rule, rename

MAX_BLOCKS = 39  # used of the published encoder; a file may hold one more
PUBLISHED_HEADS = 16

# `ln_vision`, which is stored with the Q-Former or nowhere, is the model's last norm.
LN_VISION = KeyMap((rename("ln_vision.{}", "post_layernorm.{}"),))


@dataclass(frozen=True)
class EvaSizes:
    """Sizes of an encoder file. `image_size` may differ from the file's: positions are then resized."""

    hidden: int
    intermediate: int
    blocks: int
    patch: int
    image_size: int
    heads: int

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch


def eva_sizes(shapes: Mapping[str, torch.Size], where: str, heads: int | None, image_size: int | None) -> EvaSizes:
    """Sizes from the tensors of eva_vit_g.pth.

    Args:
        heads, image_size: what the file does not state; None: 16, and the file's own image size.

    Raises CheckpointError if the tensors are those of something else.
    """
    try:
        hidden, _, patch, _ = shapes["patch_embed.proj.weight"]
        intermediate = shapes["blocks.0.mlp.fc1.weight"][0]
        positions = shapes["pos_embed"][1]
    except KeyError as error:
        raise CheckpointError(f"{where} holds no {error.args[0]}; it is not the EVA ViT-g file") from None
    blocks = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    heads = heads or PUBLISHED_HEADS
    if hidden % heads:
        raise CheckpointError(f"{where}: {heads} heads do not divide its hidden size {hidden}; give vit_num_heads")
    own = round((positions - 1) ** 0.5) * patch
    return EvaSizes(hidden, intermediate, min(blocks, MAX_BLOCKS), patch, image_size or own, heads)


def build_eva(sizes: EvaSizes) -> Any:
    """An empty Blip2VisionModel whose last norm is `ln_vision`."""
    from transformers import Blip2VisionConfig, Blip2VisionModel

    model = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=sizes.hidden,
            intermediate_size=sizes.intermediate,
            num_hidden_layers=sizes.blocks,
            num_attention_heads=sizes.heads,
            image_size=sizes.image_size,
            patch_size=sizes.patch,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
            attention_dropout=0.0,
            qkv_bias=True,
        )
    )
    model.post_layernorm.eps = 1e-5
    return model


def eva_layout(sizes: EvaSizes) -> KeyMap:
    """Names in the encoder's file; whatever else it holds (heads, further norms and blocks) is not used."""
    block, ours = "blocks.{i}.", "encoder.layers.{i}."
    rules = (
        rename("cls_token", "embeddings.class_embedding"),
        Rule(
            ("pos_embed",),
            ("embeddings.position_embedding",),
            load=lambda tensors: [resized_positions(tensors[0], sizes.grid)],
        ),
        rename("patch_embed.proj.{}", "embeddings.patch_embedding.{}"),
        rename(f"{block}norm1.{{}}", f"{ours}layer_norm1.{{}}"),
        rename(f"{block}norm2.{{}}", f"{ours}layer_norm2.{{}}"),
        Rule((f"{block}attn.q_bias", f"{block}attn.v_bias"), (f"{ours}self_attn.qkv.bias",), _join_bias, _split_bias),
        rename(f"{block}attn.qkv.weight", f"{ours}self_attn.qkv.weight"),
        rename(f"{block}attn.proj.{{}}", f"{ours}self_attn.projection.{{}}"),
        rename(f"{block}mlp.{{}}", f"{ours}mlp.{{}}"),
    )
    return KeyMap(rules, tuple(f"blocks.{i}.{{}}" for i in (MAX_BLOCKS,)), open_ended=True)


def _join_bias(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    query, value = tensors
    return [torch.cat([query, torch.zeros_like(query), value])]


def _split_bias(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    query, _, value = tensors[0].chunk(3)
    return [query, value]


def resized_positions(positions: Tensor, grid: int) -> Tensor:
    """[1, 1 + g * g, c] position embeddings for `grid` x `grid` patches, bicubic; unchanged where g is `grid`."""
    old = round((positions.shape[1] - 1) ** 0.5)
    if old == grid:
        return positions
    first, patches = positions[:, :1], positions[:, 1:]
    square = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2).float()
    new = interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([first, new.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)], dim=1)
