"""Attention of a batch of rows equals attention with the mask: outputs, gradients, also through compiled layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.models import packed_flash, packed_rows
from common.models.packed_attention import best_way, dense_attention, dense_mask, runs_flash
from common.models.packed_flash import FlashTables, flash_attention, rows_backward, rows_forward
from common.models.packed_rows import Rows, read_rows, static_size
from common.models.packing import PackedImage, PackLayout, lay_out, pack_length
from common.models.sequence import PromptIds
from tests.unit.models.packs import packed_images
from tests.unit.models.plain_rows import PlainKernels

PROMPT = PromptIds((1, 20), (30,))
TWO = [PackedImage(4, PROMPT, ((5, 6, 2),)), PackedImage(2, PROMPT, ((9, 2),))]


def rows_of(layout: PackLayout) -> Rows:
    return read_rows(layout.source, layout.places, layout.sizes)


def tables_of(layout: PackLayout) -> FlashTables:
    return FlashTables(layout.source, layout.places, torch.tensor(layout.sizes))


def inputs_of(layout: PackLayout, seed: int, heads: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value, and a gradient of the output, which is anything at padding."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(layout.length, count, 8) for count in (heads[0], heads[1], heads[1], heads[0])]
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def by_mask(layout: PackLayout, inputs: list[Tensor]) -> list[Tensor]:
    """Output, without that of padding, and gradients with the dense mask, if nothing is asked of padding."""
    query, key, value = (x.clone().requires_grad_() for x in inputs[:3])
    mask = dense_mask(layout.until, torch.arange(layout.length))
    out = dense_attention(query[None], key[None], value[None], 0.3, mask)[0, : layout.tokens]
    return [out.detach(), *torch.autograd.grad(out, (query, key, value), inputs[3][: layout.tokens])]


def singles(images: list[PackedImage]) -> list[PackedImage]:
    """The same with one caption each, at most."""
    return [PackedImage(image.feature, image.prompt, image.branches[:1]) for image in images]


def test_rows_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "MOST_PADDING", 1.0)
    found = rows_of(lay_out(TWO, image_tokens=2))
    #   positions: root 0 1 | image 2 3 4, caption 5 6 | image 7 8 9, caption 10
    assert found.source.view(2, 32).tolist() == [
        [*range(7), *[0] * 25],
        [0, 1, *range(7, 11), *[0] * 26],
    ]
    assert found.own.tolist() == [*range(7), 34, 35, 36, 37]
    assert found.void.tolist() == [*range(7, 32), 32, 33, *range(38, 64)]
    assert found.repeated.tolist() == [32, 33] and found.into.tolist() == [0, 1] and found.roots.tolist() == [0, 1]


def test_what_is_no_batch_of_rows() -> None:
    """Several captions of an image, of which more than one is fed; or rows that are mostly padding."""
    assert lay_out([PackedImage(0, PROMPT, ((5, 6, 2), (7, 7, 2)))], 2).sizes == ()
    assert lay_out([PackedImage(0, PROMPT, ((5, 6, 2), (8,)))], 20).sizes != ()
    assert lay_out([PackedImage(0, PROMPT, ((5,) * 200,)), PackedImage(1, PROMPT, ((5,) * 20,))], 2).sizes == ()


@given(packed_images, st.integers(1, 3), st.integers(0, 5), st.sampled_from([(2, 2), (4, 2)]), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_rows_equal_the_mask(
    images: list[PackedImage], m: int, padding: int, heads: tuple[int, int], seed: int
) -> None:
    """Whatever the places hold to which nothing is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_rows, "MOST_PADDING", 1.0)
        images = singles(images)
        layout = lay_out(images, m, pack_length(m, images) + padding)
    given, rows = inputs_of(layout, seed, heads, torch.float64), rows_of(layout)
    out, scales, inputs = rows_forward(*given[:3], rows, len(layout.source), 0.3, PlainKernels())
    for places in inputs:
        places[len(rows.source) :] = torch.nan
    found = rows_backward(given[3], inputs, (out, scales), rows, 0.3, PlainKernels())
    for one, expected in zip((out[: layout.tokens], *found), by_mask(layout, given), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-10)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> PlainKernels:
    """The operator on the CPU, over plain arithmetic."""
    kernels = PlainKernels()
    monkeypatch.setattr(packed_flash, "best_kernels", lambda *_: kernels)
    return kernels


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("length", [None, 96])
def test_the_operator(compiled: bool, length: int | None, plain: PlainKernels) -> None:
    """Forward and backward, as one node each of a graph without a break."""
    layout = lay_out(TWO, 20, length)
    inputs = inputs_of(layout, 0, (2, 2), torch.float32)
    leaves = [x[None].clone().requires_grad_() for x in inputs[:3]]

    def attend(query: Tensor, key: Tensor, value: Tensor, tables: FlashTables) -> Tensor:
        return flash_attention(query * 1, key, value, 0.3, tables)

    run = torch.compile(attend, dynamic=False, fullgraph=True, backend="aot_eager") if compiled else attend
    out = run(*leaves, tables_of(layout))
    found = torch.autograd.grad(out, leaves, inputs[3][None])
    for one, expected in zip((out[:, : layout.tokens], *found), by_mask(layout, inputs), strict=True):
        torch.testing.assert_close(one[0], expected, rtol=1e-5, atol=1e-5)
    assert plain.calls


def test_the_operator_is_what_it_says(plain: PlainKernels) -> None:
    """Schema, shapes without data, and gradients under autograd's tracing."""
    assert plain.calls == []
    layout = lay_out(TWO, 20, 96)
    query, key, value = (x.requires_grad_() for x in inputs_of(layout, 1, (2, 2), torch.float32)[:3])
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(packed_flash._attention, (query, key, value, *tables_of(layout), 0.3), test_utils=tests)


@pytest.mark.parametrize("kernels", [packed_flash.FlashKernels(), packed_flash.CudnnKernels()])
def test_torchs_kernels_take_what_they_are_given(kernels: packed_flash.Kernels) -> None:
    """Arguments and shapes, without data: the numbers are tested on a GPU."""
    layout = lay_out(TWO, 20, 96)
    query, key, value, gradient = (x.to("meta") for x in inputs_of(layout, 0, (4, 4), torch.bfloat16))
    rows = rows_of(layout.to(torch.device("meta")))
    out, scales, inputs = rows_forward(query, key, value, rows, len(layout.source), 0.3, kernels)
    assert out.shape == query.shape and scales.shape == (4 * len(layout.source),) and scales.dtype == torch.float32
    found = rows_backward(gradient, inputs, (out, scales), rows, 0.3, kernels)
    assert [x.shape for x in found] == [query.shape, key.shape, value.shape]


def test_packs_of_one_length_have_tables_of_one_shape() -> None:
    """So a compiled layer fits all of them."""
    shapes = set()
    for images in (TWO, TWO[:1], [*TWO, PackedImage(0, PROMPT, ((4, 2),))]):
        layout = lay_out(images, 20, 96)
        shapes.add((len(layout.source), len(layout.sizes)))
        assert len(layout.source) == static_size(len(layout.source)) and len(layout.places) % 96 == 0
    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "head", "masked", "expected"),
    [
        ("flash", "cuda", torch.bfloat16, 128, False, "flash"),
        ("flash", "cuda", torch.bfloat16, 128, True, "flex"),
        ("flash", "cuda", torch.bfloat16, 20, False, "flex"),
        ("flash", "cuda", torch.float32, 128, False, "flex"),
        ("flash", "cuda", torch.float64, 128, False, "dense"),
        ("flash", "cuda", torch.float32, 12, False, "dense"),
        ("flex", "cuda", torch.bfloat16, 8, False, "dense"),
        ("flash", "cpu", torch.bfloat16, 128, False, "dense"),
        ("flex", "cuda", torch.bfloat16, 128, False, "flex"),
        ("dense", "cuda", torch.bfloat16, 128, False, "dense"),
    ],
)
def test_the_way_that_is_taken(
    wanted: Any,
    device: str,
    dtype: torch.dtype,
    head: int,
    masked: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert best_way(wanted, torch.device(device), dtype, head, masked) == expected


def test_old_cards_have_no_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert not runs_flash(torch.device("cuda"), torch.float16, 64)


@pytest.mark.parametrize(
    ("device", "heads", "size", "width", "capability", "allowed", "expected"),
    [
        ("cuda", (32, 32), 128, 704, (9, 0), True, True),
        ("cuda", (32, 32), 128, 704, (8, 0), True, False),
        ("cuda", (32, 8), 128, 704, (9, 0), True, False),
        ("cuda", (32, 32), 256, 704, (9, 0), True, False),
        ("cuda", (32, 32), 128, 32, (9, 0), True, False),
        ("cuda", (32, 32), 128, 704, (9, 0), False, False),
        ("cpu", (32, 32), 128, 704, (9, 0), True, False),
    ],
)
def test_where_cudnn_is_taken(
    device: str,
    heads: tuple[int, int],
    size: int,
    width: int,
    capability: tuple[int, int],
    allowed: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: allowed)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert packed_flash.runs_cudnn(torch.device(device), heads, size, width) == expected
