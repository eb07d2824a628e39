"""Packs through decoders of transformers' families: losses and gradients are those of one plain row a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import Fit, ForeignDecoder, Hand
from common.models.packed.foreign.handing import Unpackable
from common.models.packed.foreign.layout import GivenRow, lay_out_rows
from common.models.packed.foreign.masks import blocks_of, starts_of
from common.models.packed.foreign.trial import plain_losses, try_out
from tests.unit.models.tiny_foreign import IMAGE, MAKERS, Made, tiny_foreign

BRANCHES = ((40, 41, 42, 43, 44, 45, 46, 2), (50,), (40, 2, 45))
PACKED = tuple(name for name in MAKERS if name != "lfm2")


def given_row(made: Made, number: int, branches: Sequence[tuple[int, ...]] = BRANCHES) -> GivenRow:
    """A row of the image of that number."""
    inputs = made[1](number)
    at = (inputs["input_ids"][0] == IMAGE).nonzero()
    return GivenRow(number, inputs, (int(at[0]), int(at[-1]) + 1), tuple(branches))


def trunk_of(lm: Any) -> Any:
    """The decoder of a tiny model."""
    return getattr(lm.model, "language_model", None) or lm.model.text_model


def fitted(made: Made) -> tuple[Any, Any, Fit]:
    """Model, decoder and what a trial shows."""
    return made[0], trunk_of(made[0]), try_out(made[0], trunk_of(made[0]), given_row(made, 0))


def plain(lm: Any, rows: Sequence[GivenRow]) -> Tensor:
    """One forward a caption."""
    losses = [plain_losses(lm, row, branch) for row in rows for branch in row.branches]
    return torch.nn.utils.rnn.pad_sequence(losses, batch_first=True)


def assert_same(lm: Any, packed: Tensor, expected: Tensor) -> None:
    """Losses, and gradients of a random mixture of them in all parameters."""
    torch.testing.assert_close(packed, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    parameters = list(lm.parameters())
    found, right = (
        torch.autograd.grad((losses * weights).sum(), parameters, allow_unused=True) for losses in (packed, expected)
    )
    largest = max(float(g.abs().max()) for g in right if g is not None)
    for one, other in zip(found, right, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            atol = 1e-5 * (float(other.abs().max()) + largest / 10)
            torch.testing.assert_close(one, other, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("family", PACKED)
def test_a_pack_equals_plain_rows(family: str) -> None:
    """Images of unequal sizes, their captions of unequal lengths, padding behind, layers computed again."""
    made = tiny_foreign(family)
    lm, trunk, fit = fitted(made)
    rows = [given_row(made, n, BRANCHES[: 3 - n]) for n in range(3)]
    layout = lay_out_rows(rows, fit.shares)
    alone = sum(row.inputs["input_ids"].shape[1] + len(b) - 1 for row in rows for b in row.branches)
    assert layout.tree.tokens < alone
    padded = lay_out_rows(rows, fit.shares, layout.tree.tokens + 5)
    decoder = ForeignDecoder(lm, trunk, fit, PackedSettings(recompute=2))
    assert not (fit.llama and family.startswith(("qwen", "gemma", "paligemma")))  # positions, masks of another kind
    assert_same(lm, decoder.losses(padded), plain(lm, rows))
    if family == "llava":  # by its own layers, too
        assert fit.llama
        assert_same(lm, ForeignDecoder(lm, trunk, replace(fit, llama=False)).losses(layout), plain(lm, rows))
    assert "forward" not in vars(decoder.layers[0]) and trunk.config._attn_implementation in ("sdpa", "eager")


TOGETHER = ("llava", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "internvl")


@pytest.mark.parametrize("family", PACKED)
def test_images_that_are_looked_at_together(family: str) -> None:
    """One pass for all images of a pack, where that gives the decoder the same; positions learnt once a kind of row."""
    made = tiny_foreign(family)
    lm, trunk = made[0], trunk_of(made[0])
    rows = [replace(given_row(made, n % 3, BRANCHES[: 3 - n]), kind=n % 3) for n in range(3)]
    fit = try_out(lm, trunk, rows[0], rows[1])
    assert fit.together or family not in TOGETHER
    decoder = ForeignDecoder(lm, trunk, fit)
    looks: list[int] = []
    hand: Hand = lambda images, inputs: (looks.append(len(images)), decoder.hand(images, inputs))[1]  # noqa: E731
    for more in (0, 5):
        layout = lay_out_rows(rows, fit.shares)
        layout = lay_out_rows(rows, fit.shares, layout.tree.tokens + more)
        assert_same(lm, decoder.losses(layout, hand), plain(lm, rows))
    if family in TOGETHER:
        assert sorted(looks) == [1, 1, 1, 3, 3]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.lists(st.integers(40, 60), min_size=1, max_size=9), max_size=3)))
)
@settings(max_examples=10, deadline=None)
def test_any_pack_of_a_sliding_decoder_with_pictures_that_see_themselves(drawn: list[Any]) -> None:
    drawn = [(number, branches) for number, branches in drawn if branches] or [(1, [[41, 2]])]
    made = tiny_foreign("gemma3")
    lm, trunk, fit = fitted(made)
    assert not fit.causal
    rows = [given_row(made, n, tuple(map(tuple, branches))) for n, branches in drawn]
    assert_same(lm, ForeignDecoder(lm, trunk, fit).losses(lay_out_rows(rows, fit.shares)), plain(lm, rows))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "mllama"])
def test_flex_attention_in_place_of_the_decoders_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its kernels, which a GPU has; by decoders, too, that transformers says it is not for."""
    from torch.nn.attention.flex_attention import flex_attention as flex

    monkeypatch.setattr("common.models.packed.attention.runs_flex", lambda *_: True)
    calls: list[int] = []

    def noting(*args: Any, **more: Any) -> Any:
        calls.append(1)
        return flex(*args, **more)

    monkeypatch.setattr("common.models.packed.attention._flex", lambda: noting)
    made = tiny_foreign(family)
    lm, trunk, fit = fitted(made)
    rows = [given_row(made, n) for n in range(2)]
    with torch.no_grad():
        found = ForeignDecoder(lm, trunk, replace(fit, llama=False)).losses(lay_out_rows(rows, fit.shares, 128))
        torch.testing.assert_close(found, plain(lm, rows), rtol=1e-5, atol=1e-5)
    assert len(calls) == len(trunk.layers) - (family == "mllama")  # one of its layers looks at pictures beside the text


def test_what_cannot_be_packed_says_why() -> None:
    with pytest.raises(Unpackable, match="conv"):
        fitted(tiny_foreign("lfm2"))
    made = tiny_foreign("llava")

    with pytest.raises(Unpackable, match="trial pack"):
        spoilt(made)


def spoilt(made: Made) -> Fit:
    """A decoder that looks at the places of its sequence: its packs cannot be right."""

    def add_places(_module: Any, _args: Any, out: Tensor) -> Tensor:
        return out + torch.arange(out.shape[1])[:, None] / 10

    with trunk_of(made[0]).layers[0].mlp.register_forward_hook(add_places):
        return fitted(made)[2]


def test_a_beginning_is_shared_only_where_nothing_behind_it_is_seen() -> None:
    made = tiny_foreign("llava")
    rows = [given_row(made, n) for n in range(2)]
    shared, apart = (lay_out_rows(rows, shares) for shares in (True, False))
    assert shared.skipped == (0, 3) and apart.skipped == (0, 0)
    assert apart.tree.tokens - shared.tree.tokens == 3
    lm, trunk, fit = fitted(made)
    decoder = ForeignDecoder(lm, trunk, replace(fit, causal=False))
    torch.testing.assert_close(decoder.losses(shared), decoder.losses(apart), rtol=1e-5, atol=1e-6)


def test_blocks_of_any_mask() -> None:
    """What FlexAttention is told of a mask is that mask, and whole blocks are told from parts."""
    sees = torch.rand(300, 300, generator=torch.Generator().manual_seed(0)) < 0.5
    sees[:128, :128], sees[128:256, :128] = True, False
    mask = blocks_of(sees)
    assert mask.full_kv_num_blocks.tolist() == [[[1, 0, 0]]] and mask.kv_num_blocks.tolist() == [[[2, 2, 3]]]
    at = torch.arange(300)
    assert torch.equal(mask.mask_mod(None, None, at[:, None], at), sees)
    assert starts_of(torch.tensor([6, 6, 4, 4, 6, 6, 7])).tolist() == [0, 0, 2, 2, 4, 4, 6]
