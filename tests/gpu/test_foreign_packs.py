"""On a GPU: packs of transformers' families by FlexAttention and in compiled layers equal their plain rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import ForeignDecoder, plain_losses, try_out
from common.models.packed.foreign.layout import GivenRow, lay_out_rows
from tests.unit.models import tiny_foreign as tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICE = torch.device("cuda")
BRANCHES = (tuple(range(12, 60)), (50,), (40, 2, 45, 46))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "gemma3", "llava_sliding", "paligemma", "internvl"])
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
