"""How texts are cut and put together: templates, segments, limits, and what leaves the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from common.errors import DataError
from common.models.text.ids import PromptIds
from common.models.text.sequence import attention_mask, embed_rows, pad_rows
from tests.unit.models.conftest import FAMILIES, Tiny


@pytest.mark.parametrize("name", FAMILIES)
def test_a_context_follows_after_one_space(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    plain = model.format_prompt("Describe {this}.")
    assert "Describe {this}." in plain and plain.count(model.image_token) == 1
    assert model.format_prompt("Describe {this}.", "A dog") == plain + " A dog"


@pytest.mark.parametrize("name", FAMILIES)
def test_exactly_one_image_placeholder(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    for text in ("no image", f"{model.image_token} {model.image_token}"):
        with pytest.raises(DataError, match="exactly one"):
            model.encode_prompt(text)


@pytest.mark.parametrize("name", FAMILIES)
def test_t2_exactly_one_end_symbol(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    with_end, without = (model.encode_target("a dog and a cat.", eos) for eos in (True, False))
    assert with_end == [*without, 2] and 2 not in without


def test_owl_cuts_speakers_in_training_and_not_in_generation(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("owl").load()
    encode = model.tokenizer.encode
    text = model.format_prompt("Say it.", "a red")
    training, generation = model.encode_prompt(text), model.encode_prompt(text, for_generation=True)
    start = text[: text.index("\nHuman: ")]
    assert training.before == (1, *encode(start), *encode("\nHuman: "))
    assert training.after == (*encode("\nHuman: "), *encode("Say it.\n"), *encode("AI: "), *encode(" a red"))
    assert generation.before == (1, *encode(start + "\nHuman: "))
    assert generation.after == tuple(encode("\nHuman: Say it.\nAI:  a red"))
    assert training != generation


@pytest.mark.parametrize("name", ["llava", "minigpt"])
def test_others_cut_at_the_image_only(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    text = model.format_prompt("Say it.", "a red")
    before, after = text.split(model.image_token)
    expected = PromptIds((1, *model.tokenizer.encode(before)), tuple(model.tokenizer.encode(after)))
    assert model.encode_prompt(text) == model.encode_prompt(text, for_generation=True) == expected


@pytest.mark.parametrize(("name", "drops"), [("llava", True), ("share4v", False)])
def test_a_literal_unk_is_dropped_as_published(name: str, drops: bool, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    ids = [*model.encode_target("a <unk> dog", False), *model.encode_prompt(model.format_prompt("<unk>")).after]
    assert (0 in ids) != drops
    caption = model.encode_caption("a <unk> dog")
    assert (0 in caption.ids) != drops and len(caption.ids) == len(caption.offsets)


def test_owl_hides_a_literal_unk_in_training(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("owl").load()
    text = model.format_prompt("a <unk> dog")

    def loss() -> float:
        return float(model.sample_losses(images[:1], [text], ["a red bench"], [False])[0])

    before = loss()
    model.lm.get_input_embeddings().weight.data[0] += 100.0
    assert loss() == before
    model.hidden_ids = frozenset()
    assert loss() != before


def test_minigpt_cuts_a_target_to_160_tokens_end_symbol_included(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("minigpt").load()
    long = "9" * 200
    assert model.encode_target(long, True) == model.tokenizer.encode(long)[:160]
    exact = "9" * 158  # a blank and 158 digits: room for the end symbol
    assert len(model.encode_target(exact, True)) == 160 and model.encode_target(exact, True)[-1] == 2
    assert model.encode_target("9" * 159, True)[-1] != 2


def test_minigpt_does_not_count_the_padding_piece(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("minigpt").load()
    piece = model.tokenizer.id_of("$$")
    assert piece != 0 and piece in model.encode_target("x$$ a", False)
    prompt = model.encode_prompt(model.format_prompt("Describe"))
    target = model.encode_target("x$$ a", False)
    features = model.image_features(model.preprocess(images[:1]))
    losses = model.target_losses(features, [prompt], [target])[0]
    kept = [loss for loss, token in zip(losses, target, strict=True) if token != piece]
    found = model.sample_losses(images[:1], [model.format_prompt("Describe")], ["x$$ a"], [False])[0]
    torch.testing.assert_close(found, torch.stack(kept).mean())


@pytest.mark.parametrize(("name", "limit"), [("owl", 513), ("llava", 4096)])
def test_a_target_is_cut_to_the_published_length(name: str, limit: int, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    prompt = model.encode_prompt(model.format_prompt("Describe"))
    kept = model.fit_target(prompt, [5] * 5000, 7)
    assert len(prompt.before) + 7 + len(prompt.after) + len(kept) == limit
    with pytest.raises(DataError, match="no room"):
        model.fit_target(PromptIds((1,) * limit, ()), [5], 7)


def test_share4v_and_minigpt_do_not_cut(tiny: Callable[[str], Tiny]) -> None:
    for name in ("share4v", "minigpt"):
        assert len(tiny(name).load().fit_target(PromptIds((1,) * 5000, ()), [5] * 9, 7)) == 9


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_target_is_an_error(name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny(name).load()
    with pytest.raises(DataError, match="no tokens"):
        model.sample_losses(images[:1], [model.format_prompt("Describe")], [""], [False])


@pytest.mark.parametrize("name", FAMILIES)
def test_t5_t6_a_loss_is_the_mean_over_target_tokens(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    """Neither the prompt's length nor the padding of the batch may shrink it."""
    model = tiny(name).load()
    texts = [model.format_prompt("Describe"), model.format_prompt("Please describe the image. " * 9)]
    prompts = [model.encode_prompt(text) for text in texts]
    targets = [model.encode_target("a dog", True), model.encode_target("a cat and a red bench", False)]
    tokens = model.target_losses(model.image_features(model.preprocess(images[:2])), prompts, targets)
    assert tokens.shape == (2, max(map(len, targets))) and (tokens[0, len(targets[0]) :] == 0).all()
    means = torch.stack([line[: len(target)].mean() for line, target in zip(tokens, targets, strict=True)])
    found = model.sample_losses(images[:2], texts, ["a dog", "a cat and a red bench"], [True, False])
    torch.testing.assert_close(found, means)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_caption_is_tokenised_once(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    caption = "  A dog, and a red cat."
    once = model.encode_caption(caption)
    assert list(once.ids) == model.tokenizer.encode(caption.lstrip())
    start = caption.index("and")
    span = [i for i, (a, b) in zip(once.ids, once.offsets, strict=True) if a < start + 3 and b > start]
    assert "and" in model.tokenizer.decode(span)
    assert once.offsets[0][0] == 2 and once.offsets[-1][1] == len(caption)


def embed(ids: torch.Tensor) -> torch.Tensor:
    return ids[:, None].float().expand(-1, 3)


def test_rows_and_padding() -> None:
    prompts = [PromptIds((1, 2), (3,)), PromptIds((4,), ())]
    rows = embed_rows(embed, torch.full((2, 2, 3), 9.0), prompts, [(5, 6), ()])
    assert [row[:, 0].tolist() for row in rows] == [[1, 2, 9, 9, 3, 5, 6], [4, 9, 9]]
    right, mask = pad_rows(rows, left=False)
    assert mask.tolist() == [[1] * 7, [1] * 3 + [0] * 4] and (right[1, 3:] == 0).all()
    left, mask = pad_rows(rows, left=True)
    assert mask.tolist() == [[1] * 7, [0] * 4 + [1] * 3] and left[1, 4:, 0].tolist() == [4, 9, 9]


@pytest.mark.parametrize(("hidden", "expected"), [(frozenset({8}), None), (frozenset({3, 5}), [[1, 1, 1, 1, 0, 0, 1]])])
def test_masks_only_where_something_is_hidden(hidden: frozenset[int], expected: Any) -> None:
    found = attention_mask([PromptIds((1, 2), (3,))], [(5, 6)], 2, hidden, torch.zeros(1, 7, 3))
    assert (found.tolist() if found is not None else None) == expected
