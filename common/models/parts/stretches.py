"""Towers that cut their patches into stretches (windows, or images): attention to all of them at once, on a GPU.

transformers calls PyTorch's attention once for every stretch, in Qwen2.5-VL hundreds of times an image. An attention
with "flash" in its name is told where the stretches end instead; here that is PyTorch's own kernel for such.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

NAME = "flash_to_stretches"  # what transformers calls the attention below
ENDS = "cu_seqlens"  # as a tower's attention is told them


def attend_to_stretches(model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Let the towers in a model that cut up their patches use the kernel, where there is one; whether any does.

    Those that flash-attn was chosen for keep that.
    """
    if device.type != "cuda" or dtype.itemsize != 2 or not _has_kernel():
        return False
    configs = {id(config): config for config in map(_cutting, model.modules()) if config is not None}
    for config in configs.values():
        _register()
        config._attn_implementation_internal = NAME
    return bool(configs)


def _cutting(module: nn.Module) -> Any:
    """The configuration of an attention that is told ends of stretches, and calls PyTorch's for each."""
    config = getattr(module, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa" or getattr(module, "is_causal", True):
        return None
    return config if ENDS in inspect.signature(module.forward).parameters else None


def _has_kernel() -> bool:
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return False
    return hasattr(varlen, "varlen_attn")


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any
) -> tuple[Tensor, None]:
    """As transformers calls it: [1, h, t, c] three times -> [1, t, h, c]; without stretches, PyTorch's plain one."""
    from torch.nn.attention.varlen import varlen_attn
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    ends, longest, scaling = given.get("cu_seq_lens_q"), given.get("max_length_q"), given.get("scaling")
    plain = scaling is None or abs(scaling * query.shape[-1] ** 0.5 - 1) < 1e-6
    if ends is None or longest is None or not plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    query, key, value = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    ends, most = ends.to(torch.int32), int(longest)
    out: Any = varlen_attn(query, key, value, ends, ends, most, most)
    return out[None], None
