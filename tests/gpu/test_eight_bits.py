"""Frozen products in 8-bit floats on a GPU that has them: against the emulation, and through the engine."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from common.models import load_model
from common.models.base import CaptionModel, PackedSettings
from common.models.packed.layout import PackLayout, lay_out
from common.models.weights.eight_bit import CAPABILITY, EightBitGradient, EightBitLinear
from tests.gpu.test_packed_engine import LENGTH, error, gradient, make, packs, plain, tower_output

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < CAPABILITY, reason="needs 8-bit products"
)
GPU = torch.device("cuda")


def both_ways(layer: nn.Module, x: Tensor, gradient_out: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of the input."""
    leaf = x.clone().requires_grad_()
    out = layer(leaf)
    (back,) = torch.autograd.grad(out, leaf, gradient_out)
    return out.detach().float().cpu(), back.float().cpu()


@pytest.mark.parametrize("rows", [1, 17, 640])
@pytest.mark.parametrize("kind", [EightBitLinear, EightBitGradient])
def test_a_product_equals_its_emulation(rows: int, kind: type[EightBitLinear] | type[EightBitGradient]) -> None:
    """Up to the rounding to bfloat16 and the card's short sums; for any number of rows, compiled or not."""
    torch.manual_seed(rows)
    linear = nn.Linear(256, 96).bfloat16()
    x, gradient_out = torch.randn(rows, 256).bfloat16(), torch.randn(rows, 96).bfloat16()
    expected = both_ways(kind(copy.deepcopy(linear), torch.device("cpu")), x, gradient_out)
    layer = kind(linear, GPU)
    for way in (layer, torch.compile(layer, dynamic=False)):
        for found, wanted in zip(both_ways(way, x.cuda(), gradient_out.cuda()), expected, strict=True):
            assert error(found, wanted) < 1e-2


@pytest.mark.parametrize(("first", "least"), [(None, 0.985), (0, 0.97)])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_connectors_gradient(first: int | None, least: float, compiled: bool) -> None:
    reference, model = make(torch.float32), make(torch.bfloat16)
    model.to_eight_bits(GPU, first)
    model.set_trainable("connector")
    model.set_packed(PackedSettings(compile=compiled, fast_connector=True))
    images = packs(6, 0)
    seen = tower_output(reference, len(images), 0)
    losses = model.packed_losses(model.connect(seen), lay_out(images, 64, LENGTH).to(GPU))
    expected = plain(reference, seen, images)
    torch.testing.assert_close(losses, expected, rtol=0.3, atol=0.3)
    found, wanted = gradient(model, losses), gradient(reference, expected)
    print(f"from block {first}: error {error(found, wanted):.3f}")
    assert float(cosine_similarity(found, wanted, dim=0)) > least


def test_adapters_over_8_bits_in_compiled_layers() -> None:
    """Their gradients, and the connector's, are about those of adapters over 16 bits; and they learn by them."""
    pytest.importorskip("peft")
    images, found = packs(4, 5), []
    layout = lay_out(images, 64, LENGTH).to(GPU)
    for eight in (False, True):
        model = make(torch.bfloat16)
        if eight:
            model.to_eight_bits(GPU)
        chosen = model.set_trainable("connector+lora")
        draw = torch.Generator("cuda").manual_seed(0)
        for name, parameter in chosen.items():
            if ".lora_" in name:
                torch.nn.init.normal_(parameter, std=0.02, generator=draw)
        model.set_packed(PackedSettings(compile=True))
        model.packed_losses(model.connect(tower_output(model, 4, 5)), layout).mean().backward()
        found.append({name: parameter.grad.flatten() for name, parameter in chosen.items()})
    exact, rounded = found
    assert exact.keys() == rounded.keys()
    for part in ("connector.", "lora_A", "lora_B"):
        pair = [torch.cat([grads[name] for name in grads if part in name]) for grads in found]
        cosine = float(cosine_similarity(*pair, dim=0))
        print(f"{part}: cosine {cosine:.4f}")
        assert cosine > 0.98, part
    losses = losses_of_steps(model, chosen, layout)
    assert losses[-1] < losses[0]


def losses_of_steps(model: CaptionModel, chosen: dict[str, nn.Parameter], layout: PackLayout) -> list[float]:
    """Before each of five steps."""
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = model.packed_losses(model.connect(tower_output(model, 4, 5)), layout).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_loading_takes_less_of_the_card_than_16_bits() -> None:
    """Layer by layer: the decoder at full size is never on the card. Captions come from it as from any other."""
    from PIL import Image

    peaks = []
    for kind in ("auto", "fp8"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model = load_model("llava", device=GPU, dtype=torch.bfloat16, decoder_dtype=kind)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        texts = model.generate([Image.new("RGB", (112, 112))], [model.format_prompt("Describe")], max_new_tokens=8)
        assert len(texts) == 1
        del model
    assert peaks[1] < peaks[0]
