"""The decoder's linear layers as 4-bit normal floats (nf4) by bitsandbytes; everything else keeps its dtype.

They stay frozen; the connector, or low-rank adapters over them, can be trained. A layer is quantised on its way to the
device, so that the device never holds the decoder at full size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.errors import ArgumentError, MissingDependencyError, first_line
from common.models.body import ModelBody
from common.models.weights.frozen_layers import decoder_linears

WIDTH = 64  # weights that share a scale; bitsandbytes 0.50 reads other row lengths back wrongly on the CPU


def require_bitsandbytes() -> Any:
    """The module. Raises MissingDependencyError if it is missing or does not load."""
    try:
        import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingDependencyError(
            f"--load_in_4bit needs bitsandbytes ({first_line(error)}); pip install 'efuf[quant]'"
        ) from None
    return bitsandbytes


def quantise(model: ModelBody, device: torch.device) -> None:
    """Replace the linear layers of the decoder's blocks (neither head nor embeddings), and put the model on `device`.

    Raises MissingDependencyError without bitsandbytes; ArgumentError for a decoder that is trained or has adapters
    already, in a dtype that 4-bit layers do not compute in, or if a layer cannot be quantised there.
    """
    bnb = require_bitsandbytes()
    dtype = model.compute_dtype
    plain = decoder_linears(model)
    if not plain:
        raise ArgumentError(f"--load_in_4bit: {model.name} has no plain linear layers to quantise")
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise ArgumentError(f"--load_in_4bit does not compute in {dtype}; use bfloat16")
    if any(linear.in_features % WIDTH for linear in plain.values()):
        raise ArgumentError(f"--load_in_4bit: a layer of the decoder is no multiple of {WIDTH} wide")
    if any(linear.weight.requires_grad for linear in plain.values()):
        raise ArgumentError("--load_in_4bit: the decoder's weights are trained; train the connector or lora")
    for name, linear in plain.items():
        model.set_submodule(name, _quantised(bnb, linear, dtype, device))
        linear.weight.data = linear.weight.new_empty(0)
    model.to(device)


def _quantised(bnb: Any, linear: nn.Linear, dtype: torch.dtype, device: torch.device) -> nn.Module:
    # Scales stay in float32: 0.4 GiB of a 7B model against 0.1.
    kind: dict[str, Any] = {"quant_type": "nf4", "compress_statistics": False}
    new: nn.Linear = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=dtype, device="meta", **kind
    )
    new.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, **kind)
    if linear.bias is not None:
        new.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    try:
        return new.to(device)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise ArgumentError(f"--load_in_4bit does not work on {device}: {first_line(error)}") from None


def is_quantised(module: nn.Module) -> bool:
    """Whether any of its weights is a 4-bit one."""
    return any(hasattr(parameter, "quant_state") for parameter in module.parameters())
