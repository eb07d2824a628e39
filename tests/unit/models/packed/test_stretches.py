"""Attention of towers to all their stretches at once, with a stand-in for the kernel that needs a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import varlen

from common.models.packed.foreign.handing import handed_over
from common.models.parts.stretches import NAME, attend_to_stretches, choose_kernel
from tests.unit.models.packed.test_foreign_packs import trunk_of
from tests.unit.models.tiny_foreign import tiny_foreign

CPU = torch.device("cpu")


def stand_in(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, _ends: Tensor, longest: int, _most: int
) -> Tensor:
    """[t, h, c] three times: what the kernel's documentation says."""
    lengths = ends.diff().tolist()
    assert ends.dtype == torch.int32 and max(lengths) <= longest
    parts = zip(*(x.transpose(0, 1).split(lengths, 1) for x in (query, key, value)), strict=True)
    return torch.cat([functional.scaled_dot_product_attention(*part) for part in parts], 1).transpose(0, 1)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_tower_is_told_its_stretches(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the decoder is given stays the same, and the kernel is called once a block."""
    lm, inputs = tiny_foreign(family)
    calls: list[int] = []

    def counted(*given: Any) -> Tensor:
        calls.append(len(given[3]) - 1)
        return stand_in(*given)

    monkeypatch.setattr(varlen, "varlen_attn", counted)
    expected = handed_over(lm, trunk_of(lm), inputs(0))["inputs_embeds"]
    assert choose_kernel(lm, CPU, torch.float32)
    calls.clear()
    found = handed_over(lm, trunk_of(lm), inputs(0))["inputs_embeds"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert lm.model.visual.config._attn_implementation == NAME and lm.config._attn_implementation != NAME
    assert len(calls) == len(lm.model.visual.blocks)


def test_a_kernel_that_fails_or_errs_is_said_and_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lm, _ = tiny_foreign("qwen2_5_vl")
    for spoilt, said in ((lambda *given: stand_in(*given) * 1.1, "something else"), (lambda: None, "positional")):
        monkeypatch.setattr(varlen, "varlen_attn", spoilt)
        assert not choose_kernel(lm, CPU, torch.float32)
        assert said in capsys.readouterr().err
    assert lm.model.visual.config._attn_implementation == "sdpa"
    assert not attend_to_stretches(lm, CPU, torch.float32) and not choose_kernel(
        tiny_foreign("llava")[0], CPU, torch.half
    )
