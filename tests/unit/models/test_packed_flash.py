"""Attention over whole segments equals attention with the mask: outputs, gradients, through compiled layers as well."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.models import packed_flash
from common.models.packed_attention import best_way, dense_attention, dense_mask, runs_flash
from common.models.packed_flash import FlashTables, flash_attention, joint_backward, joint_forward
from common.models.packed_segments import STEP, Segments, read_segments
from common.models.packing import PackedImage, PackLayout, lay_out, pack_length
from common.models.sequence import PromptIds
from tests.unit.models.packs import packed_images
from tests.unit.models.plain_segments import PlainKernels

PROMPT = PromptIds((1, 20), (30,))
TWO = [PackedImage(4, PROMPT, ((5, 6, 2), (8,), (7, 7, 2))), PackedImage(2, PROMPT, ((9, 2),))]


def segments_of(layout: PackLayout) -> Segments:
    return read_segments(layout.keys, layout.places, layout.ends, layout.sizes)


def tables_of(layout: PackLayout) -> FlashTables:
    return FlashTables(layout.keys, layout.places, layout.ends, torch.tensor(layout.sizes))


def inputs_of(layout: PackLayout, seed: int, heads: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value, and a gradient of the output."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(layout.length, count, 8) for count in (heads[0], heads[1], heads[1], heads[0])]
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def masked(layout: PackLayout, inputs: list[Tensor]) -> list[Tensor]:
    """Output and gradients with the dense mask."""
    query, key, value = (x.clone().requires_grad_() for x in inputs[:3])
    mask = dense_mask(layout.until, torch.arange(layout.length))
    padding = mask[..., layout.tokens :, layout.tokens :]
    padding.copy_(torch.ones_like(padding).tril())  # segments let padding see the padding before it
    out = dense_attention(query[None], key[None], value[None], 0.3, mask)[0]
    return [out.detach(), *torch.autograd.grad(out, (query, key, value), inputs[3])]


def test_segments_written_out() -> None:
    found = segments_of(lay_out(TWO, image_tokens=2))
    #   positions: root 0 1 | image 2 3 4, caption 5 6 | caption 7 8 | image 9 10 11, caption 12
    assert found.keys.tolist() == [0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 9, 10, 11, 12]
    assert found.own.tolist() == [0, 1, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16]
    assert found.repeated.tolist() == [2, 3, 11, 12] and found.into.tolist() == [0, 1, 0, 1]
    assert found.roots.tolist() == [0, 1]
    assert found.first.query_ends.tolist() == [0, 2, 7, 9, 13] and found.first.key_ends.tolist() == [0, 2, 9, 11, 17]
    assert found.asking.tolist() == [7, 8] and found.above.tolist() == [2, 3, 4, 5, 6]
    assert found.second.query_ends.tolist() == [0, 2] and found.second.key_ends.tolist() == [0, 5]
    assert found.first[2:] == (5, 7) and found.second[2:] == (2, 5)


@given(packed_images, st.integers(1, 3), st.integers(0, 5), st.sampled_from([(2, 2), (4, 2)]), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_segments_equal_the_mask(
    images: list[PackedImage], m: int, padding: int, heads: tuple[int, int], seed: int
) -> None:
    layout = lay_out(images, m, pack_length(m, images) + padding)
    inputs, segments, kernels = inputs_of(layout, seed, heads, torch.float64), segments_of(layout), PlainKernels()
    out, scale, keys, values = joint_forward(*inputs[:3], segments, 0.3, kernels)
    found = joint_backward(inputs[3], (inputs[0], keys, values), (out, scale), segments, 0.3, kernels)
    for one, expected in zip((out, *found), masked(layout, inputs), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-10)


@given(packed_images, st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_one_caption_an_image_is_one_call(images: list[PackedImage], seed: int) -> None:
    single = [PackedImage(image.feature, image.prompt, image.branches[:1]) for image in images]
    layout, kernels = lay_out(single, 2), PlainKernels()
    inputs = inputs_of(layout, seed, (2, 2), torch.float32)
    joint_forward(*inputs[:3], segments_of(layout), 0.3, kernels)
    assert kernels.calls == [len({image.prompt.before for image in single}) + len(single)]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> PlainKernels:
    """The operator on the CPU, over plain arithmetic."""
    kernels = PlainKernels()
    monkeypatch.setattr(packed_flash, "KERNELS", kernels)
    return kernels


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("length", [None, 64])
def test_the_operator(compiled: bool, length: int | None, plain: PlainKernels) -> None:
    """Forward and backward, as one node each of a graph without a break."""
    layout = lay_out(TWO, 2, length)
    inputs = inputs_of(layout, 0, (2, 2), torch.float32)
    leaves = [x[None].clone().requires_grad_() for x in inputs[:3]]

    def attend(query: Tensor, key: Tensor, value: Tensor, tables: FlashTables) -> Tensor:
        return flash_attention(query * 1, key, value, 0.3, tables)

    run = torch.compile(attend, dynamic=False, fullgraph=True, backend="aot_eager") if compiled else attend
    out = run(*leaves, tables_of(layout))
    found = torch.autograd.grad(out, leaves, inputs[3][None])
    for one, expected in zip((out, *found), masked(layout, inputs), strict=True):
        torch.testing.assert_close(one[0], expected, rtol=1e-5, atol=1e-5)
    assert plain.calls


def test_the_operator_is_what_it_says(plain: PlainKernels) -> None:
    """Schema, shapes without data, and gradients under autograd's tracing."""
    assert plain.calls == []
    layout = lay_out(TWO, 2, 64)
    query, key, value = (x.requires_grad_() for x in inputs_of(layout, 1, (2, 2), torch.float32)[:3])
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(packed_flash._attention, (query, key, value, *tables_of(layout), 0.3), test_utils=tests)


def test_torchs_kernels_take_what_they_are_given() -> None:
    """Arguments and shapes of both calls, without data: the numbers are tested on a GPU."""
    layout = lay_out(TWO, 2, 64)
    query, key, value, gradient = (x.to("meta") for x in inputs_of(layout, 0, (4, 2), torch.bfloat16))
    segments, kernels = segments_of(layout.to(torch.device("meta"))), packed_flash.FlashKernels()
    out, scale, keys, values = joint_forward(query, key, value, segments, 0.3, kernels)
    assert out.shape == query.shape and scale.shape == (4, 64) and scale.dtype == torch.float32
    found = joint_backward(gradient, (query, keys, values), (out, scale), segments, 0.3, kernels)
    assert [x.shape for x in found] == [query.shape, key.shape, value.shape]


def test_packs_of_one_length_have_tables_of_one_shape() -> None:
    """So a compiled layer fits all of them."""
    shapes = set()
    for images in (TWO, TWO[:1], [*TWO, PackedImage(0, PROMPT, ((3,), (4, 2)))]):
        layout = lay_out(images, 8, 64)
        shapes.add(tuple(len(x) for x in (layout.keys, layout.places, layout.ends, torch.tensor(layout.sizes))))
    assert len({(keys, ends, sizes) for keys, _, ends, sizes in shapes}) == 1
    assert all(keys % STEP == 0 and places % 64 == 0 for keys, places, *_ in shapes)


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "head", "hides", "expected"),
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
    wanted: Any, device: str, dtype: torch.dtype, head: int, hides: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert best_way(wanted, torch.device(device), dtype, head, hides) == expected


def test_old_cards_have_no_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert not runs_flash(torch.device("cuda"), torch.float16, 64)
