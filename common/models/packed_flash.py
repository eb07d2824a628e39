"""Attention over a pack of one caption an image by the fused kernels that torch brings: 16 bits, on NVIDIA GPUs.

Queries, keys and values are spread into the rows of `packed_rows.py`, and the output is gathered from them.
Sizes: t positions, f places of rows, b rows of length n, h heads, c head size. Log-sum-exps are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from common.models.packed_rows import Rows, read_rows

Three = tuple[Tensor, Tensor, Tensor]


class Kernels(Protocol):
    """Attention of rows of equal length: forward, and backward from output and log-sum-exp."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """[b, n, h, c], twice [b, n, key heads, c] -> output [b, n, h, c], log-sum-exp [b, h, n]."""

    def backward(self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], scaling: float) -> Three:
        """Gradients of query, key and value from that of the output. `outputs`: output and log-sum-exp."""


class FlashKernels:
    """FlashAttention 2, as torch brings it: from compute capability 8.0."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        longest = (query.shape[1], key.shape[1])
        out, scale, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, None, None, *longest, 0.0, True, False, scale=scaling
        )
        return out, scale

    def backward(self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], scaling: float) -> Three:
        """See :class:`Kernels`."""
        state = torch.empty(2, dtype=torch.uint64, device=gradient.device)  # of dropout, of which there is none
        unused = torch.empty(0, device=gradient.device)
        longest = (inputs[0].shape[1], inputs[1].shape[1])
        query, key, value = torch.ops.aten._flash_attention_backward(
            gradient, *inputs, *outputs, None, None, *longest, 0.0, True, state, unused, scale=scaling
        )
        return query, key, value


class CudnnKernels:
    """cuDNN's: on Hopper up to twice as fast (`tests/bench/NOTES.md`). It chooses a kernel anew for each new shape."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        swapped = [x.transpose(1, 2) for x in (query, key, value)]
        out, scale, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
            *swapped, None, True, 0.0, True, False, scale=scaling
        )
        return out.transpose(1, 2), scale.squeeze(3)

    def backward(self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], scaling: float) -> Three:
        """See :class:`Kernels`."""
        state = torch.empty((), dtype=torch.int64, device=gradient.device)  # of dropout, of which there is none
        longest = (inputs[0].shape[1], inputs[1].shape[1])
        swapped = [x.transpose(1, 2) for x in (gradient, *inputs, outputs[0])]
        query, key, value = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            *swapped, outputs[1].unsqueeze(3), state, state, None, None, None, *longest, 0.0, True, scale=scaling
        )
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


def runs_cudnn(device: torch.device, heads: tuple[int, int], size: int, width: int) -> bool:
    """Whether cuDNN's kernels pay, and torch allows them (`torch.backends.cuda.enable_cudnn_sdp`).

    Args:
        heads: of queries, and of keys; size: of a head; width: of a row.
    """
    fits = heads[0] == heads[1] and size <= 128 and width >= 64
    if not (fits and torch.backends.cudnn.is_available() and torch.backends.cuda.cudnn_sdp_enabled()):
        return False
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def best_kernels(query: Tensor, key: Tensor, rows: Rows) -> Kernels:
    """For queries [..., h, c] and keys [..., key heads, c] of these rows."""
    heads = (query.shape[-2], key.shape[-2])
    return CudnnKernels() if runs_cudnn(query.device, heads, query.shape[-1], rows.width) else FlashKernels()


def rows_forward(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, held: int, scaling: float, kernels: Kernels
) -> tuple[Tensor, Tensor, Three]:
    """Query [t, h, c], key and value [t, key heads, c] -> output, log-sum-exps [held x h], inputs by places.

    Args:
        held: length of what is made over places, at least as many as there are.
    """
    inputs = spread(query, rows, held), spread(key, rows, held), spread(value, rows, held)
    out, scale = kernels.forward(*_by_row(inputs, rows), scaling)
    scales = scale.new_empty(held * query.shape[1])
    scales[: scale.numel()] = scale.flatten()
    return out.flatten(0, 1).index_select(0, rows.own), scales, inputs


def spread(x: Tensor, rows: Rows, held: int) -> Tensor:
    """Positions [t, ...] -> places [held, ...]; those behind the last are left as they are."""
    places = x.new_empty(held, *x.shape[1:])
    torch.index_select(x, 0, rows.source, out=places[: len(rows.source)])
    return places


def _by_row(inputs: Three, rows: Rows) -> Three:
    query, key, value = (rows.split(x) for x in inputs)
    return query, key, value


def rows_backward(
    gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], rows: Rows, scaling: float, kernels: Kernels
) -> Three:
    """Gradients of query, key and value [t, ...]. `inputs`: by places; `outputs`: output, log-sum-exps."""
    out, scales = outputs
    asked = gradient.index_select(0, rows.source).index_fill_(0, rows.void, 0)
    spread_out = out.index_select(0, rows.source)
    scale = scales[: len(rows.source) * out.shape[1]].view(rows.number, out.shape[1], -1)
    found = kernels.backward(rows.split(asked), _by_row(inputs, rows), (rows.split(spread_out), scale), scaling)
    query, key, value = (x.flatten(0, 1) for x in found)
    return query.index_select(0, rows.own), _folded(key, rows), _folded(value, rows)


def _folded(gradient: Tensor, rows: Rows) -> Tensor:
    """Gradients of keys by places, those of repeated ones added up -> of positions [t, ...]."""
    own = gradient.index_select(0, rows.own)
    if len(rows.repeated):
        repeated = gradient.index_select(0, rows.repeated)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        total = own.index_select(0, rows.roots).to(wide).index_add_(0, rows.into, repeated.to(wide))
        own.index_copy_(0, rows.roots, total.to(own.dtype))
    return own


class FlashTables(NamedTuple):
    """What layers are told of a pack's rows, on their device; `sizes`, int64, on the CPU: no one waits to read it.

    As a tensor it is data to a compiled layer: a number would be a part of it, and every pack another layer.
    """

    source: Tensor
    places: Tensor
    sizes: Tensor

    def rows(self) -> Rows:
        """The batch."""
        return read_rows(self.source, self.places, self.sizes.tolist())


def flash_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, tables: FlashTables) -> Tensor:
    """Attention over a pack: query [1, t, h, c], key and value [1, t, key heads, c] -> [1, t, h, c]."""
    out: Tensor = _attention(query[0], key[0], value[0], *tables, scaling)[0]
    return out[None]


@torch.library.custom_op("efuf::packed_attention", mutates_args=())
def _attention(
    query: Tensor, key: Tensor, value: Tensor, source: Tensor, places: Tensor, sizes: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One node of a compiled layer's graph; see :func:`rows_forward`."""
    rows = FlashTables(source, places, sizes).rows()
    out, scales, inputs = rows_forward(query, key, value, rows, len(source), scaling, best_kernels(query, key, rows))
    return out, scales, *inputs


@torch.library.custom_op("efuf::packed_attention_backward", mutates_args=())
def _attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    scales: Tensor,
    source: Tensor,
    places: Tensor,
    sizes: Tensor,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`rows_backward`."""
    rows = FlashTables(source, places, sizes).rows()
    kernels = best_kernels(query, key, rows)
    return rows_backward(gradient, (query, key, value), (out, scales), rows, scaling, kernels)


@_attention.register_fake
def _shapes(
    query: Tensor, key: Tensor, value: Tensor, source: Tensor, *_tables: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    places = [x.new_empty(len(source), *x.shape[1:]) for x in (query, key, value)]
    scales = query.new_empty(len(source) * query.shape[1], dtype=torch.float32)
    return torch.empty_like(query, memory_format=torch.contiguous_format), scales, places[0], places[1], places[2]


@_attention_backward.register_fake
def _gradient_shapes(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    whole = [x.new_empty(len(gradient), *x.shape[1:]) for x in (query, key, value)]
    return whole[0], whole[1], whole[2]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Inputs are kept by places, as they were spread: they are not spread again."""
    *_, source, places, sizes, scaling = inputs
    out, scales, query, key, value = output
    ctx.save_for_backward(query, key, value, out, scales, source, places, sizes)
    ctx.scaling = scaling
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, gradient: Tensor, *_others: Any) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor, ...] = _attention_backward(gradient, *ctx.saved_tensors, ctx.scaling)
    return (*found, None, None, None, None)


_attention.register_autograd(_differentiate, setup_context=_save)
