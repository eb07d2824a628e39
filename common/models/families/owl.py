"""mPLUG-Owl: a CLIP-like encoder with packed attention, a visual abstractor, LLaMA-1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import CheckpointError
from common.files.json_text import as_record
from common.models.base import CaptionModel
from common.models.checkpoints.config_files import AbstractorValues, read_config
from common.models.checkpoints.files import open_folder
from common.models.checkpoints.key_maps import KeyMap, Rule, rename
from common.models.checkpoints.loading import Source, fill, without_memory
from common.models.families.checks.family_check import check_family
from common.models.parts.abstractor import Abstractor, AbstractorSizes
from common.models.parts.clip_tower import build_tower
from common.models.parts.llama import LLAMA, build_llama, finish_llama, tied_names
from common.models.parts.preprocess_files import read_preprocessing
from common.models.text.ids import PromptIds
from common.models.text.tokenizers import load_tokenizer
from common.paths import display

TEMPLATE = (
    "The following is a conversation between a curious human and AI assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions.\nHuman: <image>\nHuman: {prompt}\nAI: "
)
SPEAKERS = re.compile("(AI: |\nHuman: )")  # in training each is a piece of its own


def owl_layout(heads: int) -> KeyMap:
    """Tensor names of the published folder; `heads`: of the vision encoder, whose q, k, v are packed head by head."""
    layer, ours = "encoder.layers.{i}.", "encoder.layers.{i}."
    packed = tuple(
        Rule(
            (f"{layer}self_attn.query_key_value.{kind}",),
            tuple(f"{ours}self_attn.{part}_proj.{kind}" for part in "qkv"),
            load=lambda tensors: _unpack(tensors[0], heads),
            save=lambda tensors: [_pack(tensors, heads)],
        )
        for kind in ("weight", "bias")
    )
    flat = (
        _flattened("embeddings.cls_token", "embeddings.class_embedding", 2),
        _flattened("embeddings.position_embedding", "embeddings.position_embedding.weight", 1),
    )
    names = (
        rename("embeddings.patch_embed.weight", "embeddings.patch_embedding.weight"),
        rename("embeddings.pre_layernorm.{}", "pre_layrnorm.{}"),
        rename("post_layernorm.{}", "post_layernorm.{}"),
        rename(f"{layer}self_attn.dense.{{}}", f"{ours}self_attn.out_proj.{{}}"),
        rename(f"{layer}input_layernorm.{{}}", f"{ours}layer_norm1.{{}}"),
        rename(f"{layer}post_attention_layernorm.{{}}", f"{ours}layer_norm2.{{}}"),
        rename(f"{layer}mlp.{{}}", f"{ours}mlp.{{}}"),
    )
    vision = KeyMap(packed + flat + names, ("embeddings.position_ids",))
    connector = KeyMap((rename("query_tokens", "connector.query_tokens"), rename("abstractor.{}", "connector.{}")))
    return vision.prefixed("vision_model.", "vision.") + connector + LLAMA.prefixed("language_model.", "lm.")


def _unpack(packed: Tensor, heads: int) -> Sequence[Tensor]:
    """[heads * 3 * size, ...] with q, k, v inside each head -> three tensors [heads * size, ...]."""
    by_head = packed.unflatten(0, (heads, 3, -1))
    return [by_head[:, part].flatten(0, 1) for part in range(3)]


def _pack(parts: Sequence[Tensor], heads: int) -> Tensor:
    return torch.stack([part.unflatten(0, (heads, -1)) for part in parts], dim=1).flatten(0, 2)


def _flattened(file: str, module: str, ones: int) -> Rule:
    """A tensor that the file stores with leading dimensions of one."""
    return Rule(
        (file,),
        (module,),
        load=lambda tensors: [tensors[0].flatten(0, ones)],
        save=lambda tensors: [tensors[0].unflatten(0, (*[1] * ones, -1))],
    )


class Owl(CaptionModel):
    """mPLUG-Owl-7B in its published folder."""

    name = "owl"
    template = TEMPLATE
    max_positions = 513

    @classmethod
    def load(cls, path: Path | None, device: torch.device, dtype: torch.dtype, **_: Any) -> CaptionModel:
        """Load the published folder. Raises CheckpointError for one of another model."""
        if path is None or not path.is_dir():
            raise CheckpointError(f"no checkpoint folder {display(path or '')}; give it with --owl_path")
        config = read_config(path / "config.json")
        check_family(config, cls.name, path)
        where = display(path / "config.json")
        files = open_folder(path, cls.name, "--owl_path")
        tokenizer = load_tokenizer(path, prefer_fast=False)
        sight = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-6, **(config.get("vision_config") or {})}
        sizes = abstractor_sizes(files.shapes(), config.get("visual_abstractor_config") or {}, where)
        with without_memory():
            vision, lm = build_tower(sight, where), build_llama(config.get("text_config") or {}, where)
            connector = Abstractor(sizes)
        layout = owl_layout(vision.config.num_attention_heads)
        preprocessing = read_preprocessing(path, vision.config.image_size, "squash")
        model = cls(vision, connector, lm, tokenizer, preprocessing, layout, path)
        fill(model, [Source(files, layout)], device, dtype, optional=tied_names(lm))
        finish_llama(lm, tokenizer, where)
        model.hidden_ids = frozenset({tokenizer.unk_id})
        return model

    def see(self, pixels: Tensor) -> Tensor:
        """All tokens of the last layer, class token included, after the last norm: [n, 1 + patches, hidden]."""
        states: Tensor = self.vision.post_layernorm(self.vision(pixels).last_hidden_state)  # type: ignore[operator]
        return states

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:
        """In training the speakers are pieces of their own; in generation the text is cut at the image only."""
        before, after = (
            [i for piece in self._pieces(part, for_generation) for i in self.tokenizer.encode(piece)]
            for part in self.cut_at_image(text)
        )
        return PromptIds((self.tokenizer.bos_id, *before), tuple(after))

    @staticmethod
    def _pieces(text: str, whole: bool) -> list[str]:
        return [piece for piece in ([text] if whole else SPEAKERS.split(text)) if piece]


def abstractor_sizes(shapes: Mapping[str, torch.Size], values: Mapping[str, Any], where: str) -> AbstractorSizes:
    """Sizes from the tensors, which published configs contradict; heads and eps from the config.

    Raises CheckpointError if the tensors are not there or the heads do not fit.
    """
    layer = "abstractor.encoder.layers.{}.crossattention."
    try:
        queries, hidden = shapes["query_tokens"][1:]
        encoder_hidden = shapes[layer.format(0) + "attention.key.weight"][1]
        intermediate = shapes[layer.format(0) + "output.mlp.w1.weight"][0]
        output = shapes["abstractor.visual_fc.weight"][0]
    except KeyError as error:
        raise CheckpointError(f"{where}: no tensor {error.args[0]} beside it; is this an mPLUG-Owl folder?") from None
    depth = len({name.split(".")[3] for name in shapes if name.startswith("abstractor.encoder.layers.")})
    told = as_record(dict(values), AbstractorValues, where)
    heads, eps = told.num_attention_heads or 16, told.layer_norm_eps or 1e-6
    if hidden % heads:
        raise CheckpointError(f"{where}: {heads} abstractor heads do not divide the hidden size {hidden}")
    return AbstractorSizes(queries, hidden, encoder_hidden, intermediate, depth, heads, output, eps)
