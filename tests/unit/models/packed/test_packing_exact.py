"""A pack's losses and gradients equal those of one row a caption: all families, random packs, float32 on the CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.models.base import PackedSettings
from common.models.packed.layout import PackedImage, lay_out
from common.models.text.ids import PromptIds
from tests.unit.models.conftest import FAMILIES, Tiny
from tests.unit.models.packed.packs import HIDDEN, assert_equal, pack_losses, packed_images, seen_by

SETTINGS = st.builds(
    PackedSettings,
    recompute=st.sampled_from([0, 1, 2]),
    prune=st.booleans(),
    attention=st.sampled_from(["flex", "dense"]),
)
# One-token targets, a span at the first token and at the last, two prompts, one image twice.
PACK = [
    PackedImage(1, PromptIds((1, 40), (50,)), ((4,), (5, 6, 7, 2), (9, 9))),
    PackedImage(0, PromptIds((1, 41), (50, 51)), ((3, 4, 2),)),
    PackedImage(1, PromptIds((1, 40), ()), ((8,),)),
]
ONE_EACH = [replace(PACK[0], branches=((5, 6, 7, 2),)), *PACK[1:]]

Loaded = Callable[..., tuple[Any, torch.Tensor]]


@pytest.fixture(scope="session")
def loaded(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> Loaded:
    """A family's model and what its connector gets of the three images, loaded once for each selection."""

    @cache
    def get(name: str, selection: str = "connector") -> tuple[Any, torch.Tensor]:
        model = tiny(name).load()
        chosen = model.trainable_parameters(selection)
        for key, parameter in chosen.items():
            if "lora_B" in key:  # adapters start as the identity, where half of their gradients are zero
                torch.nn.init.normal_(parameter, std=0.1)
        return model, seen_by(model, images)

    return get


def trained(model: Any) -> dict[str, Any]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", FAMILIES)
@given(pack=packed_images, how=SETTINGS, hides=st.booleans(), padded=st.booleans())
@settings(max_examples=12, deadline=None)
def test_random_packs_equal_their_rows(
    name: str, loaded: Loaded, pack: list[PackedImage], how: PackedSettings, hides: bool, padded: bool
) -> None:
    model, seen = loaded(name)
    model.hidden_ids = frozenset({HIDDEN} if hides else ())
    model.set_packed(how)
    assert_equal(model, seen, pack, trained(model), 256 if padded else None)


@pytest.mark.parametrize("name", ["llava", "owl"])
def test_hidden_tokens_and_padding(name: str, loaded: Loaded) -> None:
    """All ways to compute layers, with several captions of an image and with one each."""
    model, seen = loaded(name)
    for pack, hidden, length, how in itertools.product(
        (PACK, ONE_EACH),
        ((), (999,), (40,)),
        (None, 256),
        (PackedSettings(), PackedSettings(recompute=1), PackedSettings(prune=False)),
    ):
        model.hidden_ids = frozenset(hidden)
        model.set_packed(how)
        assert_equal(model, seen, pack, trained(model), length)


@pytest.mark.parametrize("selection", ["connector+decoder", "connector+lm_head", "lora", "connector+lora"])
@pytest.mark.parametrize("name", ["llava", "owl"])
def test_gradients_of_every_selection(name: str, selection: str, loaded: Loaded) -> None:
    model, seen = loaded(name, selection)
    for how in (PackedSettings(), PackedSettings(recompute=1), PackedSettings(prune=False)):
        model.set_packed(how)
        assert_equal(model, seen, PACK, trained(model))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_head_runs_a_few_rows_at_a_time(rows: int, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.models.packed.head_losses.CHUNK", rows)
    model, seen = loaded("llava")
    model.set_packed(PackedSettings())
    assert_equal(model, seen, PACK, trained(model))


def test_layers_computed_again_keep_less(loaded: Loaded) -> None:
    """What is kept for the backward pass falls with the layers that are computed again."""
    model, seen = loaded("llava")
    layout = lay_out(PACK, model.connect(seen).shape[1], 128)
    kept = []
    for recompute in (0, 2, 1):
        model.set_packed(PackedSettings(recompute=recompute))
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            pack_losses(model, seen, layout)
        kept.append(sum(sizes))
    assert kept[0] > kept[1] > kept[2]


@pytest.mark.parametrize("fault", ["branch", "image", "position"])
def test_a_pack_that_lets_parts_see_each_other_is_noticed(
    fault: str, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = loaded("llava")
    model.set_packed(PackedSettings())

    def faulty(*args: Any) -> Any:
        layout = lay_out(*args)
        until, positions = layout.until.clone(), layout.positions.clone()
        m = model.connect(seen).shape[1]
        start = {"branch": 2 + m + 1, "image": 2}.get(fault)  # the first fed token of a branch; the first image token
        if start is None:
            positions[-1] += 1
        else:
            until[start] = layout.length
        return replace(layout, until=until, positions=positions)

    assert_equal(model, seen, PACK, trained(model))
    monkeypatch.setattr("tests.unit.models.packed.packs.lay_out", faulty)
    with pytest.raises(AssertionError):
        assert_equal(model, seen, PACK, trained(model))


def test_without_gradients_the_losses_are_the_same(loaded: Loaded) -> None:
    model, seen = loaded("llava")
    model.set_packed(PackedSettings(recompute=1))
    layout = lay_out(PACK, model.connect(seen).shape[1])
    with torch.no_grad():
        quiet = pack_losses(model, seen, layout)
    torch.testing.assert_close(quiet, pack_losses(model, seen, layout).detach())


def test_compiled_layers_are_shared_and_exact(loaded: Loaded) -> None:
    """Two versions whatever the number of layers: all but the last, and the last."""
    from torch._dynamo.testing import CompileCounter

    from common.models.packed.decoder import layer_forward

    model, seen = loaded("llava")
    model.hidden_ids = frozenset()
    model.set_packed(PackedSettings(attention="dense"))
    counter = CompileCounter()
    model.packed_decoder().run_layer = torch.compile(layer_forward, dynamic=False, backend=counter, fullgraph=True)
    for pack in (PACK, PACK[::-1], ONE_EACH):  # other trees of the same length
        assert_equal(model, seen, pack, trained(model), length=128)
    assert counter.frame_count == 2
