"""The engine on a GPU: FlexAttention and compiled layers, in bfloat16, against plain float32."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from common.models.base import CaptionModel, PackedSettings
from common.models.packed.attention import block_mask, dense_attention, dense_mask, flex_attention
from common.models.packed.layout import PackedImage, PackLayout, lay_out
from common.models.text.ids import PromptIds
from tests.bench.models.random_models import random_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LENGTH = 2048
COMPILED = PackedSettings(compile=True, fast_connector=True)
WAYS = {
    "compiled": COMPILED,
    "plain": PackedSettings(),
    "computed_twice": PackedSettings(recompute=1),
    "selective": PackedSettings(compile=True, recompute=2, prune=False),
    "dense": PackedSettings(attention="dense"),
}


def make(dtype: torch.dtype) -> CaptionModel:
    """A LLaVA of 4 layers of 512, with the same random weights in any dtype, its connector trained in float32."""
    model = random_model("llava", torch.device("cpu"), torch.float32, "small")
    model = model.to(torch.bfloat16).to("cuda", dtype)
    model.set_trainable("connector")
    return model


def packs(count: int, seed: int, captions: int = 4) -> list[PackedImage]:
    """So many images with one caption of 1 to 90 tokens or several, of few words, as texts are.

    With words drawn from the whole vocabulary the gradients of tokens cancel, and what is left is mostly rounding:
    1.4 % in bfloat16 even for one row a caption.
    """
    draw = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 103) for _ in range(n))

    prompts = [PromptIds((1, *ids(34)), ids(10)), PromptIds((1, *ids(20)), ids(3))]
    lengths = (1, 2, 40, 90)
    return [
        PackedImage(i, draw.choice(prompts), tuple(ids(draw.choice(lengths)) for _ in range(draw.randint(1, captions))))
        for i in range(count)
    ]


def gradient(model: CaptionModel, losses: Tensor) -> Tensor:
    """Of the mean over all target tokens, as one vector."""
    model.zero_grad()
    (losses.sum() / (losses != 0).sum()).backward()
    return torch.cat([p.grad.flatten().double() for p in model.connector.parameters() if p.grad is not None])


def plain(model: CaptionModel, seen: Tensor, images: list[PackedImage]) -> Tensor:
    rows = [(image.feature, image.prompt, branch) for image in images for branch in image.branches]
    feature, prompts, targets = zip(*rows, strict=True)
    return model.target_losses(model.connect(seen)[list(feature)], prompts, targets)


def tower_output(model: CaptionModel, count: int, seed: int) -> Tensor:
    """What the connector gets of random pixels, rounded: the tower's own rounding is not what is tested."""
    pixels = torch.randn(count, 3, 112, 112, generator=torch.Generator().manual_seed(seed)).cuda()
    with torch.no_grad():
        return model.see(pixels.to(model.compute_dtype)).bfloat16()


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("heads", [(8, 8), (8, 2)])
def test_the_block_mask_equals_the_dense_one(heads: tuple[int, int]) -> None:
    """Outputs and gradients of FlexAttention in bfloat16 against the dense mask in float32."""
    layout = lay_out(packs(6, 0, captions=2), 64, LENGTH)
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, LENGTH, count, 128) for count in (heads[0], heads[1], heads[1], heads[0])]
    *inputs, gradient_out = (torch.randn(shape, generator=draw).bfloat16().cuda() for shape in shapes)
    gradient_out[:, layout.tokens :] = 0  # nothing is asked of padding
    until, places = layout.until.cuda(), torch.arange(LENGTH, device="cuda")
    masks = dense_mask(until, places), block_mask(until, places)
    found = []
    for dtype, attend, mask in zip(
        (torch.float32, torch.bfloat16), (dense_attention, flex_attention), masks, strict=True
    ):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        out = attend(*leaves, 0.09, mask)  # type: ignore[operator]
        gradients = torch.autograd.grad(out, leaves, gradient_out.to(dtype))
        found.append([x[:, : layout.tokens].double() for x in (out.detach(), *gradients)])
    assert layout.tokens < LENGTH
    for name, expected, one in zip(("output", "query", "key", "value"), *found, strict=True):
        print(f"{name} off by {error(one, expected):.1e}")
        assert error(one, expected) < 1e-2, name


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_the_connectors_gradient_in_bfloat16(how: PackedSettings) -> None:
    reference, model = make(torch.float32), make(torch.bfloat16)
    model.set_packed(how)
    # Packs of one length, which must not take from each other; about as many target tokens in each.
    for seed, count, captions in ((0, 6, 4), (1, 6, 4), (2, 14, 1), (3, 14, 1)):
        images = packs(count, seed, captions)
        seen = tower_output(reference, len(images), seed)
        layout: PackLayout = lay_out(images, 64, LENGTH).to(torch.device("cuda"))
        losses = model.packed_losses(model.connect(seen), layout)
        expected = plain(reference, seen, images)
        torch.testing.assert_close(losses, expected, rtol=0.03, atol=0.03)
        found, wanted = gradient(model, losses), gradient(reference, expected)
        rows = gradient(model, plain(model, seen, images))
        print(f"{how}: gradient off by {error(found, wanted):.1e}, plain bfloat16 rows by {error(rows, wanted):.1e}")
        assert error(found, wanted) < 1e-2


def test_float32_on_the_gpu() -> None:
    model = make(torch.float32)
    model.set_packed(PackedSettings(compile=True))
    images, seen = packs(4, 3), tower_output(model, 4, 3)
    losses = model.packed_losses(model.connect(seen), lay_out(images, 64, LENGTH).to(torch.device("cuda")))
    expected = plain(model, seen, images)
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-3)
    assert error(gradient(model, losses), gradient(model, expected)) < 1e-3


def test_adapters_in_compiled_layers() -> None:
    pytest.importorskip("peft")
    model = make(torch.bfloat16)
    chosen = model.set_trainable("connector+lora")
    for name, parameter in chosen.items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    images, seen = packs(4, 5), tower_output(model, 4, 5)
    expected = plain(model, seen, images)
    wanted = gradient(model, expected)
    model.set_packed(PackedSettings(compile=True))
    losses = model.packed_losses(model.connect(seen), lay_out(images, 64, LENGTH).to(torch.device("cuda")))
    torch.testing.assert_close(losses, expected, rtol=0.03, atol=0.03)
    assert error(gradient(model, losses), wanted) < 2e-2


def test_nothing_in_a_step_waits_for_the_gpu() -> None:
    model = make(torch.bfloat16)
    model.set_packed(COMPILED)

    def step(seed: int) -> Any:
        layout = lay_out(packs(5, seed), 64, LENGTH).pin_memory().to(torch.device("cuda"))
        pixels = torch.zeros(5, 3, 112, 112).pin_memory().to("cuda", non_blocking=True)
        losses = model.packed_losses(model.image_features(pixels), layout)
        losses.sum().backward()

    step(0)
    step(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
