"""Frozen products in 8-bit floats, emulated on the CPU: what is rounded, what follows of it, and clear refusals."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from common.args import ModelArguments
from common.errors import ArgumentError, CheckpointError
from common.models import load_from_args, load_model
from common.models.packed.layout import PackedImage, lay_out
from common.models.text.ids import PromptIds
from common.models.weights.eight_bit import EightBitGradient, EightBitLinear, Kept, in_codes, require_float8, usual
from common.models.weights.trained import save_trained
from tests.unit.models.conftest import FAMILIES, Tiny
from tests.unit.models.packed.packs import losses_of_steps, pack_losses, seen_by

CPU = torch.device("cpu")
PACK = [
    PackedImage(1, PromptIds((1, 40), (50,)), ((4,), (5, 6, 7, 2))),
    PackedImage(0, PromptIds((1, 40), (50, 51)), ((3, 4, 2),)),
]
numbers = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)


def plain(codes: Tensor, scales: Tensor) -> Tensor:
    """The numbers that codes stand for."""
    return codes.view(torch.float8_e4m3fn).float() * scales


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=4))
def test_a_row_moves_by_a_sixteenth_of_each_number(rows: list[list[float]]) -> None:
    """e4m3 has 3 bits behind the point, and below 2^-6 steps of 2^-9; the largest of a row is 448."""
    given_rows = torch.tensor(rows)
    found = plain(*in_codes(given_rows))
    largest = given_rows.abs().amax(1, keepdim=True)
    bound = (given_rows.abs() / 16).maximum(largest * 2.0**-10 / 448) * 1.001 + 2.0**-100
    assert bool(((found - given_rows).abs() <= bound).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(bad: float) -> None:
    """And leaves other rows alone: a loss that is not finite is seen by the trainer, a wrong one is not."""
    found = plain(*in_codes(torch.tensor([[1.0, bad, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 4.0]])))
    assert not bool(torch.isfinite(found[0]).all()) and found[1:].tolist() == [[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_is_a_product_of_rounded_numbers(bias: bool) -> None:
    """Forward from x in 8 bits; backward from the gradient, times the scales of the outputs, in 8 bits."""
    torch.manual_seed(0)
    linear = nn.Linear(48, 32, bias)
    layer = EightBitLinear(linear, CPU)
    x, gradient = torch.randn(2, 3, 48, requires_grad=True), torch.randn(2, 3, 32)
    out = layer(x)
    out.backward(gradient)
    weight = plain(layer.weight, layer.scale[:, None])
    codes, scales = in_codes(x.detach().flatten(0, 1))
    expected = plain(codes, scales) @ weight.T + (linear.bias if bias else 0)
    torch.testing.assert_close(out.flatten(0, 1), expected)
    back = plain(*in_codes(gradient.flatten(0, 1) * layer.scale)) @ plain(layer.weight, torch.ones(1))
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(0, 1), back)
    off = (weight - linear.weight).norm() / linear.weight.norm()
    assert float(off.detach()) < 0.03
    assert layer.weight.nbytes == 48 * 32 and not layer.weight.requires_grad


def test_products_of_one_input_share_its_codes_where_they_are_compiled() -> None:
    """Three layers, one input: of a compiled pass it is rounded once, and each weight is turned going back only."""
    from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
    from torch._dynamo.backends.common import aot_autograd

    graphs: list[list[str]] = []

    def keep(graph: Any, _inputs: Any) -> Any:
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return make_boxed_func(graph.forward)

    layers = [EightBitLinear(nn.Linear(32, 48, False), CPU) for _ in range(3)]

    def added(x: Tensor) -> Any:
        return sum(layer(x.sin()) for layer in layers)

    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep, partition_fn=min_cut_rematerialization_partition)
    run = torch.compile(added, backend=backend, fullgraph=True)
    x = torch.randn(4, 32, requires_grad=True)
    (expected,), (found,) = (torch.autograd.grad(way(x).sum(), x) for way in (added, run))
    torch.testing.assert_close(found, expected)
    forward, backward = graphs
    assert forward.count("aten.amax.default") == 1 and "aten.clone.default" not in forward
    assert backward.count("aten.clone.default") == 3


def test_a_layer_whose_gradient_alone_is_of_8_bits() -> None:
    """Forward as it was; backward as the layer of codes does it, whose codes it makes anew."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        linear = nn.Linear(48, 32, bias=False).to(dtype)
        layer, coded = EightBitGradient(copy.deepcopy(linear), CPU), EightBitLinear(linear, CPU)
        x = torch.randn(2, 3, 48, dtype=dtype, requires_grad=True)
        gradient = torch.randn(2, 3, 32, dtype=dtype)
        assert torch.equal(layer(x), linear(x))
        found, expected = (torch.autograd.grad(way(x), x, gradient)[0] for way in (layer, coded))
        assert torch.equal(found, expected)
        assert not torch.equal(found, torch.autograd.grad(linear(x), x, gradient)[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_what_keeps_16_bits(name: str, tiny: Callable[[str], Tiny]) -> None:
    """By default all of the first blocks, then their forward products, values longer; then nothing that fits."""
    model = tiny(name).load()
    linears = {
        path for path, m in model.named_modules() if type(m) is nn.Linear and path.startswith("lm.model.layers.")
    }
    kept = usual(len(model.lm.model.layers))
    model.to_eight_bits(CPU)
    for path in linears:
        block, kind = int(path.split(".")[3]), type(model.get_submodule(path))
        limit = kept.values if path.endswith((".v_proj", ".o_proj")) else kept.forward
        expected = EightBitGradient if block < limit else EightBitLinear
        assert kind is (nn.Linear if block < kept.whole else expected), path
    model.to_eight_bits(CPU, 0)
    assert {path for path, module in model.named_modules() if isinstance(module, EightBitLinear)} == linears
    assert type(model.lm.lm_head) is nn.Linear


def test_a_block_to_begin_with(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("llava").load()
    model.to_eight_bits(CPU, 1)
    start = "lm.model.layers."
    kinds: dict[str, set[type]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path.startswith(start):
            kinds.setdefault(path.removeprefix(start)[0], set()).add(type(module))
    first, *others = kinds.values()
    assert first == {nn.Linear} and all(one == {EightBitLinear} for one in others) and others


def test_shares_of_the_blocks() -> None:
    assert usual(32) == Kept(whole=2, forward=6, values=12)
    assert usual(5) == usual(4) == Kept(whole=1, forward=1, values=2)
    assert usual(1) == Kept(whole=1, forward=1, values=1)


@pytest.mark.parametrize(("first", "least"), [(None, 0.995), (0, 0.97)])
def test_the_connectors_gradient_against_float32(first: int | None, least: float, images: list[Image.Image]) -> None:
    exact = load_model("llava")
    model = copy.deepcopy(exact)
    model.to_eight_bits(CPU, first)
    found = []
    for one in (exact, model):
        one.set_trainable("connector")
        seen = seen_by(one, images)
        losses = pack_losses(one, seen, lay_out(PACK, one.connect(seen).shape[1]))
        losses.sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in one.connector.parameters()]))
    assert float(torch.nn.functional.cosine_similarity(*found, dim=0)) > least


def test_adapters_over_8_bits_have_about_the_gradients_of_those_over_the_exact_weights(
    images: list[Image.Image],
) -> None:
    exact = load_model("llava")
    model = copy.deepcopy(exact)
    model.to_eight_bits(CPU)
    found = []
    for one in (exact, model):
        chosen, draw = one.set_trainable("connector+lora"), torch.Generator().manual_seed(0)
        for name, parameter in chosen.items():
            if ".lora_" in name:
                nn.init.normal_(parameter, std=0.02, generator=draw)
        seen = seen_by(one, images)
        losses = pack_losses(one, seen, lay_out(PACK, one.connect(seen).shape[1]))
        grads = torch.autograd.grad(losses.sum(), list(chosen.values()))
        found.append(dict(zip(chosen, grads, strict=True)))
    assert found[0].keys() == found[1].keys()
    for part in ("connector.", "lora_A", "lora_B"):
        pair = [torch.cat([grad.flatten() for name, grad in one.items() if part in name]) for one in found]
        assert float(torch.nn.functional.cosine_similarity(*pair, dim=0)) > 0.98, part


def test_adapters_over_8_bits_are_learnt(images: list[Image.Image]) -> None:
    model = load_model("llava")
    model.to_eight_bits(CPU, 0)
    chosen = model.set_trainable("connector+lora")
    assert {parameter.dtype for parameter in chosen.values()} == {torch.float32}
    losses = losses_of_steps(model, chosen, images[0])
    assert losses[-1] < losses[0]
    assert any(key.endswith("lora_B.default.weight") and bool(p.any()) for key, p in chosen.items())
    with pytest.raises(ArgumentError, match="weights of 4 or 8 bits cannot be trained"):
        model.set_trainable("connector+decoder")
    assert model.generate(images[:1], [model.format_prompt("Describe")], max_new_tokens=3) != [""]


def refused(message: str, **arguments: Any) -> None:
    """As a script says it: one line."""
    with pytest.raises(ArgumentError, match=message) as raised:
        load_from_args(ModelArguments(device="cpu", **arguments))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_device_without_8_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refused("needs an NVIDIA GPU that multiplies 8-bit floats .* the device is cpu", decoder_dtype="fp8")
    refused("two ways to store the decoder", decoder_dtype="fp8", load_in_4bit=True)
    refused("--fp8_from_block 0 says nothing without", fp8_from_block=0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    with pytest.raises(ArgumentError, match=r"8\.9 or above .*; NVIDIA A100-SXM4-80GB has 8\.0"):
        require_float8(torch.device("cuda"), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    require_float8(torch.device("cuda"), torch.bfloat16)
    with pytest.raises(ArgumentError, match=r"computes in bfloat16 beside, not in torch\.float16"):
        require_float8(torch.device("cuda"), torch.float16)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_cannot_be_rounded_are_refused_by_name(bad: float) -> None:
    """Wherever they are, also in a layer that would keep its dtype; and nothing has been replaced by then."""
    model = load_model("llava")
    names = [f"lm.model.layers.{n}.{path}" for n in (0, 3) for path in ("self_attn.k_proj", "self_attn.o_proj")]
    model.get_submodule(names[1]).bias = nn.Parameter(torch.zeros(192))
    for name in [*names, "lm.model.layers.2.mlp.down_proj"]:
        for kind, parameter in model.get_submodule(name).named_parameters():
            kept, parameter.data = parameter.data, parameter.data.index_fill(0, torch.tensor([2]), bad)
            with pytest.raises(ArgumentError, match=rf"the {kind} of {re.escape(name)} holds NaN or infinity"):
                model.to_eight_bits(CPU)
            parameter.data = kept
    assert not any(isinstance(module, EightBitLinear | EightBitGradient) for module in model.modules())


def test_a_decoder_that_is_trained_or_too_short_is_refused() -> None:
    model = load_model("llava")
    model.trainable_parameters("decoder")
    with pytest.raises(ArgumentError, match="weights are trained"):
        model.to_eight_bits(CPU)
    with pytest.raises(ArgumentError, match="from block 5 on: llava's decoder has 5 blocks"):
        load_model("llava").to_eight_bits(CPU, 5)


@pytest.mark.parametrize(
    ("layer", "kind"), [("4.mlp.down_proj", EightBitLinear), ("1.self_attn.o_proj", EightBitGradient)]
)
def test_a_trained_decoder_is_not_laid_over_codes(tmp_path: Path, layer: str, kind: type[nn.Linear]) -> None:
    """Numbers put into bytes, or beside scales that were found for others, would be another model in silence."""
    model = load_model("llava")
    name = f"lm.model.layers.{layer}.weight"
    save_trained(model, tmp_path, [name])
    model.to_eight_bits(CPU)
    assert isinstance(model.get_submodule(name.removesuffix(".weight")), kind)
    with pytest.raises(CheckpointError, match=rf"trained weights of {name}, a layer that is kept in 4 or 8 bits"):
        model.load_trained(tmp_path)


def test_what_share_is_in_8_bits_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where most weights are in no plain layers, as those of fused experts are."""
    model = load_model("llava")
    model.to_eight_bits(CPU, 0)
    model = load_model("llava")
    for layer in model.lm.model.layers:
        layer.experts = nn.Parameter(torch.zeros(sum(p.numel() for p in layer.parameters())))
    model.to_eight_bits(CPU, 0)
    told = [line for line in capsys.readouterr().err.splitlines() if "weights in the decoder's blocks" in line]
    assert [line.split("fp8: ")[1][:5] for line in told] == ["100 %", "50 % "]


def test_other_sizes_keep_their_dtype_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("llava")
    mlp = model.lm.model.layers[2].mlp
    mlp.gate_proj, mlp.up_proj, mlp.down_proj = nn.Linear(192, 40), nn.Linear(192, 40), nn.Linear(40, 192)
    model.to_eight_bits(CPU)
    assert type(mlp.up_proj) is nn.Linear and isinstance(model.lm.model.layers[2].self_attn.q_proj, EightBitLinear)
    told = [line for line in capsys.readouterr().err.splitlines() if "multiples of 16" in line]
    assert len(told) == 1 and "3 of 28 linear layers" in told[0] and "40 x 192" in told[0]
