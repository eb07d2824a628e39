"""The flash-attn package, where it is installed: the attention of what transformers runs itself.

These are the vision tower, rows that are not packed, and all that `auto` does; packs and the tree of captions call
torch's kernels by themselves. Chosen through transformers' `set_attn_implementation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from common.errors import first_line
from common.progress import announce

NAME = "flash_attention_2"  # what transformers calls it


def use_flash_attention(parts: Mapping[str, nn.Module], device: torch.device, dtype: torch.dtype) -> tuple[str, ...]:
    """Choose flash-attn for the models of transformers in `parts` (name -> module) that can use it, and say so.

    Returns the names of those that use it; none without a GPU, in 32 bits, or where the package is not installed. One
    that cannot use it, and a package that does not load, are announced: they keep PyTorch's own attention.
    """
    if device.type != "cuda" or dtype.itemsize != 2:
        return ()
    try:
        import flash_attn
    except Exception as error:  # built for another torch, it fails in its own ways
        if isinstance(error, ModuleNotFoundError) and error.name == "flash_attn":
            return ()
        announce(f"flash-attn is installed but does not load ({first_line(error)}); PyTorch's own attention is used")
        return ()
    chosen = tuple(name for name, part in parts.items() if _choose(name, part))
    if chosen:
        announce(f"flash-attn {flash_attn.__version__}: the attention of the {' and the '.join(chosen)}")
    return chosen


def _choose(name: str, part: nn.Module) -> bool:
    """Whether the models of transformers in a part now use it: all that can, and none if one of these then fails."""
    models = [model for model in _outermost(part) if getattr(model, "_supports_flash_attn", False)]
    before = [model.config._attn_implementation for model in models]
    try:
        for model in models:
            model.set_attn_implementation(NAME)
            if model.config._attn_implementation != NAME:
                raise ValueError(f"{type(model).__name__} does not let its attention be chosen")
    except (ImportError, ValueError, RuntimeError) as error:
        for model, kept in zip(models, before, strict=True):
            model.set_attn_implementation(kept)
        announce(f"flash-attn is not the attention of the {name} ({first_line(error)}); PyTorch's own is used")
        return False
    return bool(models)


def _outermost(part: nn.Module) -> list[Any]:
    """Models of transformers in a module that are inside no other one."""
    from transformers import PreTrainedModel

    if isinstance(part, PreTrainedModel):
        return [part]
    return [model for child in part.children() for model in _outermost(child)]
