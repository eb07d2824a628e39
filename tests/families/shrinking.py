"""Tiny configs of any model of transformers: its own defaults, with every size that is known by its name made small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HIDDEN, HEADS, HEAD, LAYERS, IMAGE, PATCH, WINDOW = 64, 4, 16, 2, 56, 14, 4

# Names of sizes, and what they become wherever a config has them.
SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "embed_dim", "hidden_dim", "out_hidden_size", "n_embed", "width"), HIDDEN
    ),
    **dict.fromkeys(
        ("projection_dim", "projector_hidden_dim", "projector_dim", "mm_hidden_size", "output_dim"), HIDDEN
    ),
    **dict.fromkeys(("adapter_in_dim", "adapter_out_dim", "adapter_input_size"), HIDDEN),
    **dict.fromkeys(("encoder_hidden_size", "vision_output_dim", "projection_hidden_size", "merger_dim"), HIDDEN),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "mlp_dim", "projector_intermediate_size"), 2 * HIDDEN),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "intermediate_size_mlp"), HIDDEN),
    **dict.fromkeys(("merger_intermediate_size", "projector_hidden_size", "text_hidden_size"), HIDDEN),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads", "encoder_attention_heads"), HEADS),
    **dict.fromkeys(("decoder_attention_heads", "n_heads", "linear_num_value_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "global_head_dim", "linear_key_head_dim", "linear_value_head_dim"), HEAD),
    **dict.fromkeys(("qk_nope_head_dim", "v_head_dim"), HEAD),
    "qk_rope_head_dim": 8,
    "qk_head_dim": HEAD + 8,
    "q_lora_rank": HIDDEN,
    "kv_lora_rank": HIDDEN,
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "depth", "encoder_layers", "decoder_layers", "n_layers"), LAYERS
    ),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "top_k_experts", "moe_k"), 2),
    **dict.fromkeys(("n_shared_experts", "moe_num_shared_experts", "n_group", "topk_group"), 1),
    "first_k_dense_replace": 1,
    "max_position_embeddings": 4096,
    "max_window_layers": LAYERS,
    "sliding_window": 16,
    "image_size": IMAGE,
    "patch_size": PATCH,
    "deepstack_visual_indexes": [0, 1],
    "fullatt_block_indexes": [1],
    "window_size": 4 * PATCH,
    "num_position_embeddings": 16,
    "vision_feature_layer": -1,
    "projector_patch_to_query_dict": None,
    "vocab_size_per_layer_input": 512,
    "hidden_size_per_layer_input": HIDDEN,
}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
TEXT = {"vocab_size": 512, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def tiny_config(kind: type, changes: Mapping[str, Any] | None = None, vocab: int | None = None) -> Any:
    """A small config of a class; `changes` by name, of parts by dotted name (`vision_config.depth`)."""
    changes = dict(changes or {})
    usual = kind()
    given: dict[str, Any] = {}
    for name, part in getattr(kind, "sub_configs", {}).items():
        own = {k.partition(".")[2]: v for k, v in changes.items() if k.startswith(f"{name}.")}
        found = type(getattr(usual, name, None))
        if found is type(None) and not own:
            continue
        chosen = found if found is not type(None) and found is not dict else part
        if chosen.__name__ == "AutoConfig":  # of a part that is left out
            continue
        given[name] = tiny_config(chosen, own, vocab)
    given |= shrunk(usual, vocab)
    given |= {key: value for key, value in changes.items() if "." not in key}
    return kind(**{key: value for key, value in given.items() if value is not ...})


def shrunk(config: Any, vocab: int | None) -> dict[str, Any]:
    """Those of a config's own values that have a small form."""
    values = config.to_dict()
    small = {
        key: like(values[key], SIZES[key]) for key in SIZES if values.get(key) is not None and SIZES[key] is not None
    }
    small |= {key: value for key, value in TEXT.items() if key in values and ("vocab_size" in values or key[0] == "t")}
    if vocab is not None and "vocab_size" in values:
        small["vocab_size"] = vocab
    if "global_attn_indexes" in values:  # windows of patches, not of pixels; a picture is padded to whole ones
        small |= {"window_size": WINDOW, "output_channels": HIDDEN}
    kinds = list(dict.fromkeys(values.get("layer_types") or ()))
    if len(kinds) > 1:  # such as windows that slide, and the whole
        small["layer_types"] = kinds[:LAYERS]
    rope = values.get("rope_parameters")
    if isinstance(rope, Mapping) and "mrope_section" in rope:
        small["rope_parameters"] = {**rope, "mrope_section": [2, 3, 3]}
    return small


def like(old: Any, new: Any) -> Any:
    """The new value in the old one's form."""
    if isinstance(old, list | tuple) and not isinstance(new, list):
        return type(old)([new] * len(old)) if len(old) <= 2 else ...
    return new
