"""BLIP-2's Q-Former as transformers' Blip2QFormerModel: sizes from the tensors, and names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import CheckpointError
from common.files.json_text import as_record
from common.files.storage import read_record
from common.models.checkpoints.config_files import BertValues
from common.models.checkpoints.key_maps import KeyMap, rename

PUBLISHED_HEADS = 12
_LAYER = "encoder.layer.{i}."
LAYERS = "Qformer.bert.encoder.layer."  # what the names of all blocks begin with

# First match wins: `self` becomes `attention` in both kinds of attention, the rest keeps its name.
QFORMER = KeyMap(
    (
        rename("query_tokens", "query_tokens"),
        rename("Qformer.bert.embeddings.LayerNorm.{}", "qformer.layernorm.{}"),
        rename(f"Qformer.bert.{_LAYER}attention.self.{{}}", f"qformer.{_LAYER}attention.attention.{{}}"),
        rename(f"Qformer.bert.{_LAYER}attention.output.{{}}", f"qformer.{_LAYER}attention.output.{{}}"),
        rename(f"Qformer.bert.{_LAYER}crossattention.self.{{}}", f"qformer.{_LAYER}crossattention.attention.{{}}"),
        rename(f"Qformer.bert.{_LAYER}crossattention.output.{{}}", f"qformer.{_LAYER}crossattention.output.{{}}"),
        rename(f"Qformer.bert.{_LAYER}intermediate_query.{{}}", f"qformer.{_LAYER}intermediate_query.{{}}"),
        rename(f"Qformer.bert.{_LAYER}output_query.{{}}", f"qformer.{_LAYER}output_query.{{}}"),
    ),
    (
        # The text half, which images do not pass through, and the projection of another language model.
        "Qformer.bert.embeddings.position_ids",
        "Qformer.bert.embeddings.word_embeddings.{}",
        "Qformer.bert.embeddings.position_embeddings.{}",
        f"Qformer.bert.{_LAYER}intermediate.{{}}",
        f"Qformer.bert.{_LAYER}output.{{}}",
        "Qformer.cls.{}",
        "t5_proj.{}",
        "opt_proj.{}",
    ),
)


def read_bert_values(source: Any) -> Mapping[str, Any]:
    """Config values of BERT: a mapping, a transformers config, a config.json or its folder; empty for None."""
    if hasattr(source, "to_dict"):
        source = source.to_dict()
    if source is None or isinstance(source, Mapping):
        return source or {}
    path = Path(source)
    return read_record(path / "config.json" if path.is_dir() else path, dict[str, Any])


def build_qformer(shapes: Mapping[str, torch.Size], where: str, heads: int | None, values: Mapping[str, Any]) -> Any:
    """An empty Blip2QFormerModel for the tensors of a Q-Former file.

    Args:
        heads: of attention; None: as in `values`, or 12.
        values: BERT's config, for what tensors do not tell.

    Raises CheckpointError if the tensors are those of something else.
    """
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    try:
        hidden = shapes["query_tokens"][2]
        intermediate = shapes[f"{LAYERS}0.intermediate_query.dense.weight"][0]
        encoder_hidden = shapes[f"{LAYERS}0.crossattention.self.key.weight"][1]
    except KeyError as error:
        raise CheckpointError(f"{where} holds no {error.args[0]}; it is not a BLIP-2 Q-Former file") from None
    depth, frequency = _blocks(shapes)
    told = as_record(dict(values), BertValues, "the config of the Q-Former's BERT")
    heads = heads or told.num_attention_heads or PUBLISHED_HEADS
    if hidden % heads:
        raise CheckpointError(f"{where}: {heads} heads do not divide its hidden size {hidden}; give qformer_num_heads")
    return Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            encoder_hidden_size=encoder_hidden,
            cross_attention_frequency=frequency,
            layer_norm_eps=told.layer_norm_eps or 1e-12,
            hidden_act=told.hidden_act or "gelu",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            use_qformer_text_input=False,
        )
    )


def _blocks(shapes: Mapping[str, torch.Size]) -> tuple[int, int]:
    """How many blocks there are, and of how many one looks at the image."""
    layers = [name for name in shapes if name.startswith(LAYERS)]
    depth = len({name.split(".")[4] for name in layers})
    crossing = sorted({int(name.split(".")[4]) for name in layers if ".crossattention." in name})
    return depth, crossing[1] if len(crossing) > 1 else max(2, depth)
