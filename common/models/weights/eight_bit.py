"""The decoder's frozen matrix products in 8-bit floats (e4m3), forward and for the gradient of activations.

A weight is stored once, as W = s Q with a scale s for each output and codes Q. Activations, and their gradients, get a
scale for each row when they come:

    y = x W' = (x Q') s         x and Q in 8 bits, scaled by rows and by outputs
    dx = dy W = (dy s) Q        the scales go into the gradient before it is rounded, so the codes serve both ways

Whatever is learnt, and embeddings, head, norms, attention and residuals, keep their dtype, and so do the products that
matter most for the gradient. A rounded weight moves every token the same way, so what early blocks round goes through
all others; what is rounded going back is spread over tokens. So early blocks keep 16 bits forward, values and output of
attention longest, where tokens are averaged; the first few keep them going back, too (:func:`usual`). Where layers are
compiled the scales of activations are found, and the codes written, by the kernels that make the activations, once for
all products of one input.

torchao's layers do not fit: those for training keep the weights in 16 bits, cast them anew in every pass and make their
gradient; those for inference have no backward pass (0.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as product_of

from common.errors import ArgumentError
from common.models.body import ModelBody
from common.models.checkpoints.tensor_checks import is_finite
from common.models.weights.frozen_layers import FewerBits, block_count, block_of, decoder_linears
from common.progress import announce

CODES = torch.float8_e4m3fn
LARGEST = torch.finfo(CODES).max  # 448
SMALLEST = 2.0**-100  # a row of zeros needs a scale, too
MULTIPLE = 16  # what the card wants of rows and columns of a weight
CAPABILITY = (8, 9)  # from which cards multiply 8-bit floats: Ada, Hopper, Blackwell
ASKING = (".q_proj", ".k_proj")
FLAG = "--decoder_dtype fp8"


def require_float8(device: torch.device, dtype: torch.dtype) -> None:
    """Raise ArgumentError where a model of `dtype` on `device` cannot compute in 8-bit floats."""
    if device.type != "cuda" or torch.version.hip:
        raise ArgumentError(
            f"{FLAG} needs an NVIDIA GPU that multiplies 8-bit floats (compute capability 8.9 or above), the device is "
            f"{device}; leave it out"
        )
    found = torch.cuda.get_device_capability(device)
    if found < CAPABILITY:
        raise ArgumentError(
            f"{FLAG} needs compute capability 8.9 or above (Ada, Hopper, Blackwell); "
            f"{torch.cuda.get_device_name(device)} has {found[0]}.{found[1]}: leave it out, or take --load_in_4bit"
        )
    if dtype != torch.bfloat16:
        raise ArgumentError(f"{FLAG} computes in bfloat16 beside, not in {dtype}; leave --dtype out")


def to_eight_bits(model: ModelBody, device: torch.device, first: int | None = None) -> None:
    """Replace the frozen linear layers of the decoder's blocks one by one, and put the model on `device`.

    `device` holds a weight at full size no longer than its codes take to be made. A linear layer whose sizes are no
    multiples of 16 stays as it is, which is said. On the CPU products are those of the rounded numbers in float32:
    slow, and for tests alone.

    Args:
        first: number of the first block that is replaced, then in all products; None: see :func:`usual`.

    Raises ArgumentError, before anything is replaced, if a weight is trained, or holds NaN or infinity (of a layer that
    keeps its dtype, too), or if nothing would be replaced.
    """
    found = decoder_linears(model) | {
        name: module for name, module in model.named_modules() if isinstance(module, EightBitGradient)
    }
    blocks = block_count(model)
    kept = usual(blocks) if first is None else Kept(first, first, first)
    late = {name: linear for name, linear in found.items() if not kept.both_ways(name, block_of(model, name))}
    fitting = {name: linear for name, linear in late.items() if fits(linear)}
    if not fitting:
        raise ArgumentError(
            f"{FLAG} from block {kept.whole} on: {model.name}'s decoder has {blocks} blocks, and no plain linear layer "
            "there has sizes in multiples of 16; leave it out"
        )
    if any(linear.weight.requires_grad for linear in fitting.values()):
        raise ArgumentError(f"{FLAG}: the decoder's weights are trained; train the connector or lora")
    _require_finite(found)
    _say_unfit({name: linear for name, linear in late.items() if name not in fitting}, len(late))
    for name, plain in fitting.items():
        kind = EightBitGradient if kept.one_way(name, block_of(model, name)) else EightBitLinear
        model.set_submodule(name, kind(plain, device))
        plain.weight.data = plain.weight.new_empty(0)
    model.to(device)
    _say_share(model)


@dataclass(frozen=True)
class Kept:
    """Of how many first blocks which products keep their dtype.

    Attributes:
        whole: forward and backward.
        forward: forward.
        values: forward, of attention's values and its output.
    """

    whole: int
    forward: int
    values: int

    def both_ways(self, name: str, block: int) -> bool:
        """Whether a layer stays as it is."""
        return block < self.whole and self.one_way(name, block)

    def one_way(self, name: str, block: int) -> bool:
        """Whether its product forward is of 16 bits."""
        of_values = ("attn" in name or "attention" in name) and not name.endswith(ASKING)
        return block < (self.values if of_values else self.forward)


def usual(blocks: int) -> Kept:
    """What keeps its dtype where nothing is asked for: shares of the blocks, rounded up.

    Chosen by error for each millisecond, on weights and packs of other seeds than those that are reported
    (tests/bench/NOTES.md).
    """
    return Kept(whole=-(-blocks // 16), forward=-(-3 * blocks // 16), values=-(-3 * blocks // 8))


def fits(linear: nn.Linear) -> bool:
    """Whether the card takes a weight of its sizes."""
    return linear.in_features % MULTIPLE == 0 and linear.out_features % MULTIPLE == 0


def _require_finite(linears: Mapping[str, nn.Linear]) -> None:
    for name, linear in linears.items():
        for kind, tensor in linear.named_parameters():
            if not is_finite(tensor):
                raise ArgumentError(f"{FLAG}: the {kind} of {name} holds NaN or infinity; the model is damaged")


def _say_unfit(unfit: Mapping[str, nn.Linear], of: int) -> None:
    for name, linear in list(unfit.items())[:1]:
        announce(
            f"{FLAG}: {len(unfit)} of {of} linear layers keep their dtype, as their sizes are no multiples of 16, e.g. "
            f"{name} with {linear.out_features} x {linear.in_features}"
        )


def _say_share(model: ModelBody) -> None:
    """Of all weights in the blocks, those of layers that are not plain (fused experts, say) as well."""
    inside = [one for name, one in model.named_parameters() if name.startswith(model.decoder_layers)]
    kinds = [
        sum(module.weight.numel() for module in model.modules() if type(module) is kind)
        for kind in (EightBitLinear, EightBitGradient)
    ]
    both, back = (f"{100 * count / sum(one.numel() for one in inside):.0f} %" for count in kinds)
    announce(
        f"{FLAG}: {both} of the weights in the decoder's blocks multiply in 8 bits, {back} in the backward pass alone"
    )


class _Scaled(FewerBits):
    """A frozen linear layer with a scale for each output: its weight, or what is stored of it, and scales [out, 1]."""

    scale: Tensor

    def __init__(self, linear: nn.Linear, weight: Tensor, scales: Tensor) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", scales[:, 0].contiguous(), persistent=False)
        if linear.bias is not None:
            self.bias = nn.Parameter(linear.bias.detach().to(weight.device), requires_grad=False)


class EightBitLinear(_Scaled):
    """A frozen linear layer of e4m3 weights with a scale for each output.

    The weight is stored as bytes: that is no dtype that anything would cast, train, or give to adapters over it.
    """

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        codes, scales = in_codes(linear.weight.detach().to(device))
        super().__init__(linear, codes.view(torch.uint8), scales)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the dtype of x."""
        out: Tensor = _FrozenProduct.apply(x.flatten(0, -2), self.weight, self.scale).unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


class EightBitGradient(_Scaled):
    """A frozen linear layer of 16-bit weights: forward as it is, the gradient of its input by codes made on the way."""

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        weight = linear.weight.detach().to(device)
        super().__init__(linear, weight, scales_of(weight))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the dtype of x."""
        out: Tensor = _ExactProduct.apply(x.flatten(0, -2), self.weight, self.scale).unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


def in_codes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[n, k] -> codes [n, k] and float32 scales [n, 1] with rows = codes * scales, up to a 16th of each number.

    NaN and infinity in a row make NaN of it.
    """
    scales = scales_of(rows)
    return (rows.float() / scales).to(CODES), scales


def scales_of(rows: Tensor) -> Tensor:
    """[n, k] -> float32 [n, 1], by which the largest number of a row has the largest code."""
    return rows.float().abs().amax(1, keepdim=True).clamp_min(SMALLEST) / LARGEST


class _FrozenProduct(torch.autograd.Function):
    """x W' of a weight that has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return _product(*in_codes(x), weight.view(CODES), scale, x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return _going_back(gradient, weight.t(), scale), None, None


class _ExactProduct(torch.autograd.Function):
    """The same of a weight in its own dtype, whose codes are made for the backward pass alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return product_of(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        codes = (weight.t().float() / scale).to(CODES).view(torch.uint8)
        return _going_back(gradient, codes, scale), None, None


def _going_back(gradient: Tensor, turned: Tensor, scale: Tensor) -> Tensor:
    """The gradient of activations: [n, out], a weight's codes as bytes [in, out], its scales [out] -> [n, in]."""
    # The card wants both operands with what is summed over side by side; turning bytes adds 2 % to the products.
    beside = turned.contiguous().view(CODES)
    codes, scales = in_codes(gradient.float() * scale)
    return _product(codes, scales, beside, scale.new_ones(len(beside)), gradient.dtype)


def _product(rows: Tensor, scales: Tensor, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Codes [n, k] with scales [n, 1], codes [m, k] with scales [m] -> [n, m].

    No cast to the dtype that something has already: compiled by torch 2.11, a function whose output went through one
    has a gradient of zeros.
    """
    if rows.is_cuda:
        return torch._scaled_mm(
            rows, weight.t(), scale_a=scales, scale_b=scale[None], out_dtype=dtype, use_fast_accum=True
        )
    out = (rows.float() * scales) @ (weight.float() * scale[:, None]).t()
    return out if out.dtype == dtype else out.to(dtype)
