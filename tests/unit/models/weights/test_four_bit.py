"""4-bit decoders: what is quantised, how far it moves, what can be trained over it, and clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from common.args import ModelArguments
from common.errors import ArgumentError, MissingDependencyError
from common.models import load_from_args, load_model
from common.models.base import PackedSettings
from common.models.packed.layout import PackedImage
from common.models.text.ids import PromptIds
from common.models.weights.four_bit import is_quantised, quantise
from tests.unit.models.conftest import FAMILIES, Tiny
from tests.unit.models.packed.packs import assert_equal, losses_of_steps, seen_by

PACK = [
    PackedImage(1, PromptIds((1, 40), (50,)), ((4,), (5, 6, 7, 2))),
    PackedImage(0, PromptIds((1, 40), (50, 51)), ((3, 4, 2),)),
]


@pytest.fixture
def bnb() -> Any:
    """The library, where it is installed (`pip install '.[quant]'`)."""
    return pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_decoders_blocks_are_quantised(
    name: str, bnb: Any, tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.models.weights.four_bit.WIDTH", 16)  # what is replaced, not what it computes
    model = tiny(name).load(load_in_4bit=True)
    kinds = {path: type(module) for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    quantised = {path for path, kind in kinds.items() if kind is bnb.nn.Linear4bit}
    assert quantised == {path for path in kinds if path.startswith("lm.model.layers.")} and is_quantised(model)
    assert type(model.lm.lm_head) is torch.nn.Linear
    layer = model.lm.model.layers[0].mlp.down_proj.weight
    assert layer.dtype == torch.uint8 and layer.nbytes == 48 * 64 / 2


def test_weights_move_as_far_as_4_bits_move_them(bnb: Any) -> None:
    """Normal numbers on 16 levels in blocks of 64: 9 % of their size, from quantising to the nearest level."""
    plain, model = load_model("llava"), load_model("llava", load_in_4bit=True)
    weight = plain.lm.model.layers[1].mlp.up_proj.weight
    found = model.lm.model.layers[1].mlp.up_proj.weight
    back = bnb.functional.dequantize_4bit(found.data, found.quant_state)
    assert 0.05 < float((back - weight).norm() / weight.norm()) < 0.13


@pytest.mark.parametrize("selection", ["connector", "lora", "connector+lora"])
def test_packs_equal_rows_over_4_bits(selection: str, bnb: Any, images: list[Image.Image]) -> None:
    assert bnb
    model = load_model("llava", load_in_4bit=True)
    chosen = model.set_trainable(selection)
    for key, parameter in chosen.items():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.1)
    for how in (PackedSettings(compile=True), PackedSettings(recompute=1)):
        model.set_packed(how)
        assert_equal(model, seen_by(model, images), PACK, chosen)


def test_a_step_of_adapters_lowers_the_loss(bnb: Any, images: list[Image.Image]) -> None:
    assert bnb
    model = load_model("llava", load_in_4bit=True)
    chosen = model.set_trainable("connector+lora")
    losses = losses_of_steps(model, chosen, images[0])
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("selection", ["decoder", "all", "connector+decoder"])
def test_4_bit_weights_cannot_be_trained(selection: str, bnb: Any) -> None:
    assert bnb
    model = load_model("llava", load_in_4bit=True)
    with pytest.raises(ArgumentError, match="weights of 4 or 8 bits cannot be trained"):
        model.set_trainable(selection)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingDependencyError, match=r"needs bitsandbytes .*pip install 'efuf\[quant\]'"):
        load_model("llava", load_in_4bit=True)


def test_what_cannot_be_quantised_is_refused(bnb: Any, tiny: Callable[[str], Tiny]) -> None:
    assert bnb
    with pytest.raises(ArgumentError, match="no multiple of 64 wide"):
        tiny("llava").load(load_in_4bit=True)
    model = load_model("llava")
    model.trainable_parameters("decoder")
    with pytest.raises(ArgumentError, match="weights are trained"):
        quantise(model, torch.device("cpu"))
    with pytest.raises(ArgumentError, match="does not compute in"):
        load_model("llava", dtype=torch.float64, load_in_4bit=True)


def test_the_flag(bnb: Any) -> None:
    assert bnb
    assert is_quantised(load_from_args(ModelArguments(device="cpu", load_in_4bit=True)))
    assert not is_quantised(load_from_args(ModelArguments(device="cpu")))
