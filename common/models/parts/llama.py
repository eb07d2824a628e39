"""The decoder that all published models share: a Llama, from its config values and its tensor names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from common.errors import CheckpointError, first_line
from common.files.json_text import as_record
from common.models.checkpoints.config_files import LlamaValues, given
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.text.tokenizers import TextTokenizer
from common.progress import announce

LLAMA = KeyMap(
    rules=(
        rename("model.embed_tokens.{}", "model.embed_tokens.{}"),
        rename("model.layers.{}", "model.layers.{}"),
        rename("model.norm.{}", "model.norm.{}"),
        rename("lm_head.{}", "lm_head.{}"),
    ),
    # Computed from the configuration; older files store it all the same.
    ignored=("model.layers.{i}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"),
)


def build_llama(values: Mapping[str, Any], where: str) -> Any:
    """An empty LlamaForCausalLM for the values of a config.json (`where`, for messages).

    Raises CheckpointError for another kind of decoder or values that make no Llama.
    """
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    kind = values.get("model_type", "llama")
    if kind in ("mistral", "qwen2", "gemma", "phi", "opt", "t5"):
        raise CheckpointError(f"{where} describes a {kind} decoder, not a Llama; load it with --model auto")
    sizes = given(as_record(dict(values), LlamaValues, where))
    try:
        config = LlamaConfig(**sizes, attention_dropout=0.0)
        lm = LlamaForCausalLM(config)
    except Exception as error:  # each of transformers' checks raises an error of its own
        raise CheckpointError(f"{where} makes no Llama: {first_line(error)}") from None
    lm.generation_config = GenerationConfig()
    return lm


def tied_names(lm: Any, prefix: str = "lm.") -> tuple[str, ...]:
    """Parameters of which a file need hold only one because the configuration ties them."""
    return (f"{prefix}lm_head.weight", f"{prefix}model.embed_tokens.weight") if lm.config.tie_word_embeddings else ()


def finish_llama(lm: Any, tokenizer: TextTokenizer, where: str) -> None:
    """Tie what is tied. Raises CheckpointError if the tokenizer has more ids than the embedding has rows."""
    if lm.config.tie_word_embeddings:
        _tie(lm, where)
    embedding: nn.Embedding = lm.get_input_embeddings()
    if tokenizer.vocab_size > embedding.weight.shape[0]:
        raise CheckpointError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the embedding {embedding.weight.shape[0]} rows; "
            "tokenizer and weights are of different models"
        )


def _tie(lm: Any, where: str) -> None:
    """One weight for embedding and head, as transformers does it: not where the file holds two that differ.

    Raises CheckpointError if the file holds neither.
    """
    embedding, head = lm.model.embed_tokens, lm.lm_head
    if embedding.weight.is_meta and head.weight.is_meta:
        raise CheckpointError(f"beside {where} there is neither an embedding nor a head (lm_head) of the decoder")
    if embedding.weight.is_meta:
        embedding.weight = head.weight
    elif head.weight.is_meta or torch.equal(head.weight, embedding.weight):
        head.weight = embedding.weight
    else:
        lm.config.tie_word_embeddings = False
        announce(f"{where} ties head and embedding, but the weights hold a head of its own: that head is kept")
