"""Attention over a pack by the fused kernels that torch brings: exact, in 16 bits, on NVIDIA GPUs.

The calls of `packed_rows.py` that ask for the same tokens are put together by their log-sum-exps, as in attention over
a ring of devices. A kernel's backward pass makes the probabilities again from the log-sum-exp that it is given; given
the joint one, and the joint output, each call yields exactly its share of the gradients.
Sizes: t positions, f places of rows, h heads, c head size. Log-sum-exps are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from common.models.packed_rows import Block, Rows, read_rows

Three = tuple[Tensor, Tensor, Tensor]


class Kernels(Protocol):
    """Attention of rows of equal length: forward, and backward from output and log-sum-exp."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float) -> tuple[Tensor, Tensor]:
        """[b, n, h, c], twice [b, m, key heads, c] -> output [b, n, h, c], log-sum-exp [b, h, n]."""

    def backward(
        self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], causal: bool, scaling: float
    ) -> Three:
        """Gradients of query, key and value from that of the output. `outputs`: output and log-sum-exp."""


class FlashKernels:
    """FlashAttention 2, as torch brings it: from compute capability 8.0."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        longest = (query.shape[1], key.shape[1])
        out, scale, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, None, None, *longest, 0.0, causal, False, scale=scaling
        )
        return out, scale

    def backward(
        self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], causal: bool, scaling: float
    ) -> Three:
        """See :class:`Kernels`."""
        state = torch.empty(2, dtype=torch.uint64, device=gradient.device)  # of dropout, of which there is none
        unused = torch.empty(0, device=gradient.device)
        longest = (inputs[0].shape[1], inputs[1].shape[1])
        query, key, value = torch.ops.aten._flash_attention_backward(
            gradient, *inputs, *outputs, None, None, *longest, 0.0, causal, state, unused, scale=scaling
        )
        return query, key, value


class CudnnKernels:
    """cuDNN's: on Hopper up to twice as fast (`tests/bench/NOTES.md`). It chooses a kernel anew for each new shape."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        swapped = [x.transpose(1, 2) for x in (query, key, value)]
        out, scale, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
            *swapped, None, True, 0.0, causal, False, scale=scaling
        )
        return out.transpose(1, 2), scale.squeeze(3)

    def backward(
        self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], causal: bool, scaling: float
    ) -> Three:
        """See :class:`Kernels`."""
        state = torch.empty((), dtype=torch.int64, device=gradient.device)  # of dropout, of which there is none
        longest = (inputs[0].shape[1], inputs[1].shape[1])
        swapped = [x.transpose(1, 2) for x in (gradient, *inputs, outputs[0])]
        query, key, value = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            *swapped, outputs[1].unsqueeze(3), state, state, None, None, None, *longest, 0.0, causal, scale=scaling
        )
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


class BestKernels:
    """For each call cuDNN's where they pay and torch allows them (`torch.backends.cuda.enable_cudnn_sdp`)."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float) -> tuple[Tensor, Tensor]:
        """See :class:`Kernels`."""
        return _best(query, key).forward(query, key, value, causal, scaling)

    def backward(
        self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], causal: bool, scaling: float
    ) -> Three:
        """See :class:`Kernels`."""
        return _best(inputs[0], inputs[1]).backward(gradient, inputs, outputs, causal, scaling)


def _best(query: Tensor, key: Tensor) -> Kernels:
    fits = query.shape[2:] == key.shape[2:] and query.shape[3] <= 128 and min(query.shape[1], key.shape[1]) >= 64
    if not (fits and query.is_cuda and torch.backends.cudnn.is_available() and torch.backends.cuda.cudnn_sdp_enabled()):
        return FlashKernels()
    return CudnnKernels() if torch.cuda.get_device_capability(query.device) >= (9, 0) else FlashKernels()


@dataclass(frozen=True)
class Part:
    """The places of a block in tensors over all places: those of its first call, and those of the others."""

    block: Block
    start: int

    def first(self, x: Tensor) -> Tensor:
        """Of [f, h, c]: rows of call 1."""
        block = self.block
        return x[self.start : self.start + block.first].view(block.rows, block.width, *x.shape[1:])

    def front(self, x: Tensor) -> Tensor:
        """Of [f, h, c]: what call 3 looks at, for each image that has other captions."""
        return self.first(x)[: self.block.asking, : self.block.above]

    def other(self, x: Tensor) -> Tensor:
        """Of [f, h, c]: rows of call 2."""
        block, start = self.block, self.start + self.block.first
        return x[start : start + block.other].view(block.asking * block.slots, block.slot, *x.shape[1:])

    def by_image(self, x: Tensor) -> Tensor:
        """Rows of call 2 -> of call 3: those of an image one after the other."""
        return x.reshape(self.block.asking, self.block.slots * self.block.slot, *x.shape[2:])

    def scales_by_image(self, scale: Tensor) -> Tensor:
        """Log-sum-exps of call 2 -> of call 3: [b, h, n] -> [images, h, slots x n]."""
        split = scale.unflatten(0, (self.block.asking, self.block.slots))
        return split.transpose(1, 2).flatten(2).contiguous()


def _each(take: Callable[[Tensor], Tensor], inputs: Three) -> Three:
    query, key, value = inputs
    return take(query), take(key), take(value)


def parts(rows: Rows) -> Iterator[Part]:
    """Blocks and where they start."""
    start = 0
    for block in rows.blocks:
        yield Part(block, start)
        start += block.first + block.other


class Joint(NamedTuple):
    """Results of a block: output and log-sum-exp of call 1, and those of the calls 2 and 3 together, if there are."""

    out: Tensor
    scale: Tensor
    other: Tensor | None = None
    other_scale: Tensor | None = None


def block_forward(inputs: Three, part: Part, scaling: float, kernels: Kernels) -> Joint:
    """Query, key and value over all places -> results of a block."""
    out, scale = kernels.forward(*_each(part.first, inputs), True, scaling)
    if not part.block.asking:
        return Joint(out, scale)
    own, own_scale = kernels.forward(*_each(part.other, inputs), True, scaling)
    query = part.by_image(part.other(inputs[0]))
    above, above_scale = kernels.forward(query, part.front(inputs[1]), part.front(inputs[2]), False, scaling)
    own, own_scale = part.by_image(own), part.scales_by_image(own_scale)
    joint = torch.logaddexp(own_scale, above_scale)
    share = (above_scale - joint).exp().transpose(1, 2)[..., None]
    wide = torch.promote_types(own.dtype, torch.float32)
    return Joint(out, scale, torch.lerp(own.to(wide), above.to(wide), share).to(own.dtype), joint)


def joint_forward(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, held: int, scaling: float, kernels: Kernels
) -> tuple[Tensor, Tensor, Three]:
    """Query [t, h, c], key and value [t, key heads, c] -> output, all log-sum-exps in one vector, inputs by places.

    Args:
        held: length of what is made over places, at least as many as there are.
    """
    inputs = spread(query, rows, held), spread(key, rows, held), spread(value, rows, held)
    found = [block_forward(inputs, part, scaling, kernels) for part in parts(rows)]
    scales = [scale.flatten() for one in found for scale in (one.scale, one.other_scale) if scale is not None]
    scales.append(scales[0].new_zeros((held - len(rows.source)) * query.shape[1]))
    outs = [out for one in found for out in (one.out, one.other)]
    return _flat(outs).index_select(0, rows.own), torch.cat(scales), inputs


def spread(x: Tensor, rows: Rows, held: int) -> Tensor:
    """Positions [t, ...] -> places [held, ...]; those behind the last are left as they are."""
    places = x.new_empty(held, *x.shape[1:])
    torch.index_select(x, 0, rows.source, out=places[: len(rows.source)])
    return places


def _flat(outs: list[Tensor | None]) -> Tensor:
    """Rows of several calls -> one after the other; nothing is copied if there is but one."""
    flat = [out.flatten(0, 1) for out in outs if out is not None]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def joint_backward(
    gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], rows: Rows, scaling: float, kernels: Kernels
) -> Three:
    """Gradients of query, key and value [t, ...]. `inputs`: by places, `outputs`: output, all log-sum-exps."""
    out, scales = outputs
    spread_gradient = gradient.index_select(0, rows.source).index_fill_(0, rows.void, 0)
    spread_out = out.index_select(0, rows.source)
    found: list[list[Tensor | None]] = [[], [], []]
    for part in parts(rows):
        given = (part, scales[part.start * out.shape[1] :], scaling, kernels)
        for of_all, some in zip(found, block_backward(spread_gradient, inputs, spread_out, *given), strict=True):
            of_all += some
    query, key, value = map(_flat, found)
    return query.index_select(0, rows.own), _folded(key, rows), _folded(value, rows)


def block_backward(
    gradient: Tensor, inputs: Three, out: Tensor, part: Part, scales: Tensor, scaling: float, kernels: Kernels
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients of query, key and value at the places of a block: of the rows of call 1, and of call 2.

    Args:
        scales: all log-sum-exps from the block's first on.
    """
    block, heads = part.block, out.shape[1]
    scale = scales[: block.first * heads].view(block.rows, heads, block.width)
    query, key, value = kernels.backward(
        part.first(gradient), _each(part.first, inputs), (part.first(out), scale), True, scaling
    )
    if not block.asking:
        return [query], [key], [value]
    scale = scales[block.first * heads :][: block.other * heads].view(block.asking, heads, -1)
    own_scale = scale.unflatten(2, (block.slots, block.slot)).transpose(1, 2).flatten(0, 1).contiguous()
    own = kernels.backward(part.other(gradient), _each(part.other, inputs), (part.other(out), own_scale), True, scaling)
    by_image = [part.by_image(part.other(x)) for x in (gradient, inputs[0], out)]
    asked = (by_image[1], part.front(inputs[1]), part.front(inputs[2]))
    above = kernels.backward(by_image[0], asked, (by_image[2], scale), False, scaling)
    key[: block.asking, : block.above] += above[1]
    value[: block.asking, : block.above] += above[2]
    return [query, own[0] + above[0].reshape(own[0].shape)], [key, own[1]], [value, own[2]]


def _folded(gradient: Tensor, rows: Rows) -> Tensor:
    """Gradients of keys by places, those of repeated ones added up -> of positions [t, ...]."""
    own = gradient.index_select(0, rows.own)
    if len(rows.repeated):
        repeated = gradient.index_select(0, rows.repeated)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        total = own.index_select(0, rows.roots).to(wide).index_add_(0, rows.into, repeated.to(wide))
        own.index_copy_(0, rows.roots, total.to(own.dtype))
    return own


KERNELS: Kernels = BestKernels()


class FlashTables(NamedTuple):
    """What layers are told of a pack's rows, on their device; `sizes`, int64, on the CPU: no one waits to read it.

    As a tensor it is data to a compiled layer: a number would be a part of it, and every pack another layer.
    """

    source: Tensor
    places: Tensor
    sizes: Tensor

    def rows(self) -> Rows:
        """The calls."""
        return read_rows(self.source, self.places, self.sizes.tolist())


def flash_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, tables: FlashTables) -> Tensor:
    """Attention over a pack: query [1, t, h, c], key and value [1, t, key heads, c] -> [1, t, h, c]."""
    out: Tensor = _attention(query[0], key[0], value[0], *tables, scaling)[0]
    return out[None]


@torch.library.custom_op("efuf::packed_attention", mutates_args=())
def _attention(
    query: Tensor, key: Tensor, value: Tensor, source: Tensor, places: Tensor, sizes: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One node of a compiled layer's graph; see :func:`joint_forward`."""
    rows = FlashTables(source, places, sizes).rows()
    out, scales, inputs = joint_forward(query, key, value, rows, len(source), scaling, KERNELS)
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
    """See :func:`joint_backward`."""
    rows = FlashTables(source, places, sizes).rows()
    return joint_backward(gradient, (query, key, value), (out, scales), rows, scaling, KERNELS)


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
