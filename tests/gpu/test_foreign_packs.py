"""On a GPU: packs of transformers' families, answers by trees, and the kernel of towers, against the plain ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from common.models.generation.decoding import Decoding
from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import ForeignDecoder
from common.models.packed.foreign.handing import handed_over
from common.models.packed.foreign.layers import attending
from common.models.packed.foreign.layout import GivenRow, lay_out_rows
from common.models.packed.foreign.trial import plain_losses, try_out
from common.models.parts.stretches import NAME
from tests.bench.models.auto_models import SIZES, random_auto
from tests.unit.models import tiny_foreign as tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICE = torch.device("cuda")
BRANCHES = (tuple(range(12, 60)), (50,), (40, 2, 45, 46))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "family", ["qwen2_5_vl", "qwen3_vl", "gemma3", "llava_sliding", "paligemma", "internvl", "mllama"]
)
def test_flex_packs_equal_plain_rows(family: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of 16, the least that FlexAttention takes; masks that slide and images that see themselves."""
    monkeypatch.setitem(tiny.TEXT, "head_dim", 16)
    monkeypatch.setitem(tiny.TEXT, "hidden_size", 64)
    monkeypatch.setattr(tiny, "SECTIONS", [2, 3, 3])
    lm, inputs = tiny.tiny_foreign(family)
    lm = lm.to(DEVICE)
    trunk: Any = lm.model.language_model
    rows = [_row(inputs(n), n) for n in range(3)]
    fit = try_out(lm, trunk, rows[0])
    layout = lay_out_rows([_on_cpu(row) for row in rows], fit.shares, 384).to(DEVICE)
    decoder = ForeignDecoder(lm, trunk, fit, PackedSettings(compile=compiled, recompute=2))
    assert decoder._way(lm.get_input_embeddings().weight) == "flex"
    packed = decoder.losses(layout)
    plain = [plain_losses(lm, row, branch) for row in rows for branch in row.branches]
    expected = torch.nn.utils.rnn.pad_sequence(plain, batch_first=True)
    torch.testing.assert_close(packed, expected, rtol=2e-3, atol=2e-3)
    parameters = list(lm.parameters())
    found, right = (torch.autograd.grad(x.sum(), parameters, allow_unused=True) for x in (packed, expected))
    for one, other in zip(found, right, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert float((one - other).norm()) <= 0.02 * float(other.norm()) + 1e-3


def _row(inputs: dict[str, torch.Tensor], number: int) -> GivenRow:
    at = (inputs["input_ids"][0] == tiny.IMAGE).nonzero()
    moved = {key: value.to(DEVICE) for key, value in inputs.items()}
    return GivenRow(number, moved, (int(at[0]), int(at[-1]) + 1), BRANCHES)


def _on_cpu(row: GivenRow) -> GivenRow:
    return GivenRow(row.image, {key: value.cpu() for key, value in row.inputs.items()}, row.image_at, row.branches)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_answers_are_those_of_generate(family: str) -> None:
    """In float32, one graph a step: rotations of three numbers, norms of heads, additions between layers."""
    model = random_auto(family, "mini", DEVICE, torch.float32)
    pictures = [Image.linear_gradient("L").resize(size).convert("RGB") for size in ((96, 64), (64, 96), (160, 64))]
    prompts = [model.encode_prompt(model.format_prompt(""))] * 3
    expected = model.continue_batch(pictures, prompts, Decoding(1, 12), [""] * 3)
    assert not isinstance(model.text_turns, str), model.text_turns
    texts = [model.format_prompt("")] * 3
    assert model.generate_ids(pictures, texts, max_new_tokens=12) == expected


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_deep_model_of_16_bits_answers_by_trees(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As deep as the 7B's: its rounding is not taken for another decoder."""
    monkeypatch.setitem(SIZES[family]["mini"].text, "num_hidden_layers", 36)
    model = random_auto(family, "mini", DEVICE, torch.bfloat16)
    assert not isinstance(model.text_turns, str), model.text_turns


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_stretches_in_one_kernel(family: str) -> None:
    """What the decoder is given differs from PyTorch's attention, stretch by stretch, by rounding alone."""
    model = random_auto(family, "mini", DEVICE, torch.bfloat16)
    picture = Image.effect_noise((320, 240), 90).convert("RGB")
    inputs = model.row_of(picture, model.encode_prompt(model.format_prompt(""))).inputs
    tower: Any = model.lm.model.visual
    assert tower.config._attn_implementation == NAME
    with torch.no_grad():
        found = handed_over(model.lm, model.trunk(), inputs)["inputs_embeds"].float()
        with attending(tower, "sdpa"):
            expected = handed_over(model.lm, model.trunk(), inputs)["inputs_embeds"].float()
    assert 0 < float((found - expected).norm()) <= 0.02 * float(expected.norm())
