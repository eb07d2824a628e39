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
from torch.nn.functional import scaled_dot_product_attention

from common.errors import first_line
from common.progress import announce

NAME = "flash_to_stretches"  # what transformers calls the attention below
ENDS = "cu_seqlens"  # as a tower's attention is told them
TRIAL = (40, 24)  # patches


def attend_to_stretches(model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Let the towers in a model that cut up their patches use the kernel, where there is one; whether any does.

    Those that flash-attn was chosen for keep that. A kernel that does not give what PyTorch's attention gives for each
    stretch is announced and not used.
    """
    return device.type == "cuda" and dtype.itemsize == 2 and _has_kernel() and choose_kernel(model, device, dtype)


def choose_kernel(model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """The same where there is a kernel."""
    cutting = {id(module.config): module for module in model.modules() if _cuts(module)}
    chosen = [module for module in cutting.values() if _gives_the_same(module, device, dtype)]
    for module in chosen:
        _register()
        config: Any = module.config
        config._attn_implementation_internal = NAME
    return bool(chosen)


def _cuts(module: nn.Module) -> bool:
    """Whether it is an attention that is told ends of stretches, and calls PyTorch's for each."""
    if getattr(getattr(module, "config", None), "_attn_implementation", None) != "sdpa":
        return False
    return not getattr(module, "is_causal", True) and ENDS in inspect.signature(module.forward).parameters


@torch.no_grad()
def _gives_the_same(module: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """The kernel over two stretches of random numbers, with the tower's heads, against PyTorch's for each."""
    size = getattr(module, "head_dim", None) or module.dim // module.num_heads
    made = torch.randn(3, 1, module.num_heads, sum(TRIAL), size, device=device).to(dtype)
    ends = torch.tensor([0, TRIAL[0], sum(TRIAL)], device=device, dtype=torch.int32)
    try:
        told = {"cu_seq_lens_q": ends, "max_length_q": max(TRIAL), "scaling": size**-0.5}
        found, _ = attention(module, made[0], made[1], made[2], None, **told)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a kernel says of a card or of sizes that it was not made for
        announce(f"windows of the tower's attention are computed one by one: {first_line(error)}")
        return False
    parts = zip(*(x.split(TRIAL, 2) for x in made), strict=True)
    plain = torch.cat([scaled_dot_product_attention(*part) for part in parts], 2).transpose(1, 2)
    same = found.shape == plain.shape and bool((found - plain).abs().max() <= 0.02 * plain.abs().max())
    if not same:
        announce("windows of the tower's attention are computed one by one: PyTorch's kernel gives something else")
    return same


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
