"""Attention over a pack by FlashAttention's kernels for segments of any length, as torch brings them: exact.

The two calls of `packed_segments.py` are put together by their log-sum-exps, as in attention over a ring of devices.
A kernel's backward pass makes the probabilities again from the log-sum-exp that it is given; given the joint one, and
the joint output, each call yields exactly its share of the gradients.
Sizes: t positions, k keys of the first call, h heads, c head size. Log-sum-exps are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from common.models.packed_segments import Call, Segments, read_segments


class Kernels(Protocol):
    """Attention of segments: forward, and backward from output and log-sum-exp."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, call: Call, causal: bool, scaling: float
    ) -> tuple[Tensor, Tensor]:
        """[n, h, c], twice [m, key heads, c] -> output [n, h, c], log-sum-exp [h, n]."""

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        outputs: tuple[Tensor, Tensor],
        call: Call,
        causal: bool,
        scaling: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value from that of the output. `outputs`: output and log-sum-exp."""


class FlashKernels:
    """Those of torch: NVIDIA GPUs from compute capability 8.0, 16-bit numbers. Causal masks are aligned at the end."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, call: Call, causal: bool, scaling: float
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        out, scale, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, *call, 0.0, causal, False, scale=scaling
        )
        return out, scale

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        outputs: tuple[Tensor, Tensor],
        call: Call,
        causal: bool,
        scaling: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Kernels`."""
        state = torch.empty(2, dtype=torch.uint64, device=gradient.device)  # of dropout, of which there is none
        unused = torch.empty(0, device=gradient.device)
        query, key, value = torch.ops.aten._flash_attention_backward(
            gradient, *inputs, *outputs, *call, 0.0, causal, state, unused, scale=scaling
        )
        return query, key, value


def joint_forward(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float, kernels: Kernels
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query [t, h, c], key and value [t, key heads, c] -> output, its log-sum-exp [h, t], keys and values [k, ...]."""
    keys, values = key.index_select(0, segments.keys), value.index_select(0, segments.keys)
    out, scale = kernels.forward(query, keys, values, segments.first, True, scaling)
    asking, above = segments.asking, segments.above
    if len(asking):
        more, more_scale = kernels.forward(
            query.index_select(0, asking),
            keys.index_select(0, above),
            values.index_select(0, above),
            segments.second,
            False,
            scaling,
        )
        own_scale = scale.index_select(1, asking)
        joint = torch.logaddexp(own_scale, more_scale)
        parts = [
            part.to(joint.dtype) * (of_part - joint).exp().T[:, :, None]
            for part, of_part in ((out.index_select(0, asking), own_scale), (more, more_scale))
        ]
        out.index_copy_(0, asking, (parts[0] + parts[1]).to(out.dtype))
        scale.index_copy_(1, asking, joint)
    return out, scale, keys, values


def joint_backward(
    gradient: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    outputs: tuple[Tensor, Tensor],
    segments: Segments,
    scaling: float,
    kernels: Kernels,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value [t, ...]. `inputs`: query, keys and values of the forward pass."""
    found = kernels.backward(gradient, inputs, outputs, segments.first, True, scaling)
    asking, above = segments.asking, segments.above
    if len(asking):
        query, keys, values = inputs
        out, scale = outputs
        more = kernels.backward(
            gradient.index_select(0, asking),
            (query.index_select(0, asking), keys.index_select(0, above), values.index_select(0, above)),
            (out.index_select(0, asking), scale.index_select(1, asking)),
            segments.second,
            False,
            scaling,
        )
        for whole, part, places in zip(found, more, (asking, above, above), strict=True):
            whole.index_copy_(0, places, whole.index_select(0, places) + part)
    return found[0], _folded(found[1], segments), _folded(found[2], segments)


def _folded(gradient: Tensor, segments: Segments) -> Tensor:
    """Gradients of keys [k, ...], those of repeated ones added up -> of positions [t, ...]."""
    own = gradient.index_select(0, segments.own)
    if len(segments.repeated):
        repeated = gradient.index_select(0, segments.repeated)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        total = own.index_select(0, segments.roots).to(wide).index_add_(0, segments.into, repeated.to(wide))
        own.index_copy_(0, segments.roots, total.to(own.dtype))
    return own


KERNELS: Kernels = FlashKernels()


class FlashTables(NamedTuple):
    """What layers are told of a pack's segments, on their device; `sizes`, int64, on the CPU: no one waits to read it.

    As a tensor it is data to a compiled layer: a number would be a part of it, and every pack another layer.
    """

    keys: Tensor
    places: Tensor
    ends: Tensor
    sizes: Tensor

    def segments(self) -> Segments:
        """The calls."""
        return read_segments(self.keys, self.places, self.ends, self.sizes.tolist())


def flash_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, tables: FlashTables) -> Tensor:
    """Attention over a pack: query [1, t, h, c], key and value [1, t, key heads, c] -> [1, t, h, c]."""
    out: Tensor = _attention(query[0], key[0], value[0], *tables, scaling)[0]
    return out[None]


@torch.library.custom_op("efuf::packed_attention", mutates_args=())
def _attention(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, places: Tensor, ends: Tensor, sizes: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One node of a compiled layer's graph; see :func:`joint_forward`."""
    return joint_forward(query, key, value, FlashTables(keys, places, ends, sizes).segments(), scaling, KERNELS)


@torch.library.custom_op("efuf::packed_attention_backward", mutates_args=())
def _attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    scale: Tensor,
    keys: Tensor,
    places: Tensor,
    ends: Tensor,
    sizes: Tensor,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`joint_backward`."""
    segments = FlashTables(keys, places, ends, sizes).segments()
    return joint_backward(gradient.contiguous(), (query, key, value), (out, scale), segments, scaling, KERNELS)


@_attention.register_fake
def _shapes(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, *_tables: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    scale = query.new_empty(query.shape[1], query.shape[0], dtype=torch.float32)
    gathered = [x.new_empty(len(keys), *x.shape[1:]) for x in (key, value)]
    return torch.empty_like(query), scale, gathered[0], gathered[1]


@_attention_backward.register_fake
def _gradient_shapes(
    _gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    whole = [x.new_empty(len(query), *x.shape[1:]) for x in (key, value)]
    return torch.empty_like(query), whole[0], whole[1]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """The keys as they were gathered are kept in place of those that came: they are not gathered again."""
    query, _, _, *tables, scaling = inputs
    out, scale, key, value = output
    ctx.save_for_backward(query, key, value, out, scale, *tables)
    ctx.scaling = scaling
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, gradient: Tensor, *_others: Any) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor, ...] = _attention_backward(gradient, *ctx.saved_tensors, ctx.scaling)
    return (*found, None, None, None, None, None)


_attention.register_autograd(_differentiate, setup_context=_save)
