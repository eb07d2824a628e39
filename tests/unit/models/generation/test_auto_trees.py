"""Answers of transformers' families by the decoder of trees: the ids that their own generate gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from common.models.families.auto_trees import tails_of, tree_of, try_trees
from common.models.generation import growing
from common.models.generation.decoding import Decoding
from common.models.generation.growing import grow_trees
from common.models.generation.tree.llama import decoder_of, unlike
from common.models.generation.tree.trees import Tree
from common.models.packed.foreign.handing import Unpackable
from common.models.packed.foreign.layout import GivenRow
from common.models.text.ids import PromptIds
from tests.unit.models import tiny_foreign as tiny
from tests.unit.models.packed.test_foreign_packs import given_row, trunk_of
from tests.unit.models.tiny_foreign import AFTER, BEFORE, tiny_foreign

GROWN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "llava_onevision", "mistral3")
STOPS = (2,)


def generated(lm: Any, row: GivenRow, tail: Sequence[int], beams: int) -> list[int]:
    """By transformers' generate, the row's text after the image being `tail`."""
    inputs = dict(row.inputs)
    keep = inputs["input_ids"].shape[1] - len(AFTER)
    more = torch.tensor([list(tail)])
    for key, value in row.inputs.items():
        if value.shape == row.inputs["input_ids"].shape:
            fill = more if key == "input_ids" else torch.full_like(more, int(key == "attention_mask"))
            inputs[key] = torch.cat((value[:, :keep], fill.to(value.dtype)), 1)
    ids = lm.generate(**inputs, generation_config=Decoding(beams, 7).config(STOPS))[0]
    new: list[int] = ids[inputs["input_ids"].shape[1] :].tolist()
    return new[: new.index(2) + 1] if 2 in new else new


# With beams, some releases of transformers mix up the tiles of InternVL's images.
@pytest.mark.parametrize(("family", "beams"), [(f, b) for f in GROWN for b in (1, 2) if (f, b) != ("internvl", 2)])
def test_ids_are_those_of_generate(family: str, beams: int) -> None:
    """Images of unequal sizes, two questions of one of them; rotations and what is added are the model's own."""
    lm, _ = made = tiny_foreign(family)
    trunk = trunk_of(lm)
    assert unlike(trunk) is None
    rows = [given_row(made, n) for n in range(3)]
    turns = try_trees(lm, trunk, rows[0])
    asked = [PromptIds(BEFORE, AFTER), PromptIds(BEFORE, (30, 33, 34, 35))]
    trees: list[Tree] = []
    with torch.no_grad():
        for number, row in enumerate(rows):
            prompts = asked if number == 1 else asked[:1]
            tree = tree_of(lm, trunk, row, tails_of(row, prompts), ("a", "b")[: len(prompts)])
            assert tree is not None
            trees.append(replace(tree, number=number))
        decoder = decoder_of(trunk, lm.get_output_embeddings(), join=True, turns=turns)
        answers = grow_trees(decoder, trees, 3, Decoding(beams, 7), STOPS, most=3)
        found = {(answer.tree, answer.branch): answer.ids for answer in answers}
    expected = {(n, 0): generated(lm, row, AFTER, beams) for n, row in enumerate(rows)}
    assert found == {**expected, (1, 1): generated(lm, rows[1], asked[1].after, beams)}


def test_a_larger_tree_begins_when_those_before_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as large as the first trees need; the answers stay the same."""
    lm, _ = made = tiny_foreign("internvl")
    trunk, rows = trunk_of(lm), [given_row(made, n) for n in (0, 2, 1, 2)]
    monkeypatch.setattr(growing, "LOOK", 1)
    monkeypatch.setattr(growing, "ROOM", 1)
    with torch.no_grad():
        trees = [tree_of(lm, trunk, row, tails_of(row, [PromptIds(BEFORE, AFTER)]), ("",)) for row in rows]
        decoder = decoder_of(trunk, lm.get_output_embeddings(), join=False)
        numbered = [replace(tree, number=n) for n, tree in enumerate(trees) if tree is not None]
        found = {a.tree: a.ids for a in grow_trees(decoder, numbered, 4, Decoding(1, 7), STOPS)}
    assert found == {n: generated(lm, row, AFTER, 1) for n, row in enumerate(rows)}


def test_what_is_not_of_that_shape_says_why() -> None:
    assert "not of the shape of a Llama's" in (unlike(trunk_of(tiny_foreign("gemma3")[0])) or "")
    assert "slides" in (unlike(trunk_of(tiny_foreign("llava_sliding")[0])) or "")
    lm, inputs = tiny_foreign("paligemma")
    with pytest.raises(Unpackable, match="sees just itself"):
        try_trees(lm, trunk_of(lm), given_row((lm, inputs), 0))


def test_a_decoder_that_computes_something_else_is_found_out() -> None:
    lm, inputs = tiny_foreign("qwen3_vl")
    layer = trunk_of(lm).layers[1]
    with (
        layer.register_forward_hook(lambda _module, _args, out: out * 2),
        pytest.raises(Unpackable, match=r"logits that differ by \d"),
    ):
        try_trees(lm, trunk_of(lm), given_row((lm, inputs), 0))


def test_in_16_bits_a_deep_decoder_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding grows with the depth, in the model's own logits too; a layer that does something else is more."""
    monkeypatch.setitem(tiny.TEXT, "num_hidden_layers", 28)
    lm, inputs = tiny_foreign("qwen2_5_vl")
    lm.to(torch.bfloat16)
    row = given_row((lm, inputs), 0)
    row = replace(row, inputs={key: _narrow(value) for key, value in row.inputs.items()})
    try_trees(lm, trunk_of(lm), row)
    doubled = trunk_of(lm).layers[14].register_forward_hook(lambda _module, _args, out: out * 2)
    with doubled, pytest.raises(Unpackable, match=r"logits that differ by \d"):
        try_trees(lm, trunk_of(lm), row)


def _narrow(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.bfloat16) if value.is_floating_point() else value
