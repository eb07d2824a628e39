"""Generation: batches equal single runs, searches equal a plain one, checkpoints' own settings do not leak in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from common.errors import DataError
from common.models.generation.decoding import Decoding, cut_at_stop
from tests.unit.models.conftest import FAMILIES, Tiny

PROMPTS = ("Please describe the image.", "Describe", "a red bench, and a cat? " * 3)


def texts_of(model: Any) -> list[str]:
    return [model.format_prompt(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_equals_single_runs(
    name: str, beams: int, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    model = tiny(name).load()
    texts = texts_of(model)
    together = model.generate_ids(images, texts, num_beams=beams, max_new_tokens=12)
    alone = [
        model.generate_ids([image], [text], num_beams=beams, max_new_tokens=12)[0]
        for image, text in zip(images, texts, strict=True)
    ]
    assert together == alone
    assert len({tuple(row) for row in together}) > 1


def test_a_prompt_beyond_the_positions_is_named_not_answered(
    tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    """One of two questions about an image; a decoder turned further than it was trained answers all the same."""
    model = tiny("llava").load()
    short, long = (model.format_prompt(text) for text in ("a red bench", "Please describe a cat. " * 40))
    tokens = model.encode_prompt(long, for_generation=True).length(
        len(model.image_features(model.preprocess(images[:1]))[0])
    )
    model.lm.config.max_position_embeddings = tokens
    assert len(model.generate(images[:1] * 2, [short, long], max_new_tokens=1)) == 2
    model.lm.config.max_position_embeddings = tokens - 1
    with pytest.raises(DataError, match=f"take {tokens} tokens, .* {tokens - 1} positions; .*: '.* a cat"):
        model.generate(images[:1] * 2, [short, long], max_new_tokens=1)


def scores_after(model: Any, features: torch.Tensor, prompt: Any, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the next token, by a plain forward without cache."""
    embed = model.lm.get_input_embeddings()
    words = embed(torch.tensor([*prompt.before, *prompt.after, *ids]))
    cut = len(prompt.before)
    row = torch.cat([words[:cut], features, words[cut:]])
    return model.lm(inputs_embeds=row[None]).logits[0, -1].log_softmax(-1)  # type: ignore[no-any-return]


@torch.no_grad()
def plain_beams(model: Any, features: torch.Tensor, prompt: Any, beams: int, steps: int) -> list[int]:
    """Beam search with length penalty 0: the finished or running sequence of the highest summed log-probability."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(steps):
        longer = [
            (score + step.item(), [*ids, token])
            for score, ids in running
            for token, step in enumerate(scores_after(model, features, prompt, ids))
        ]
        best = sorted(longer, key=lambda pair: -pair[0])[: 2 * beams]
        finished += [pair for rank, pair in enumerate(best) if pair[1][-1] == model.eos_id and rank < beams]
        finished = sorted(finished, key=lambda pair: -pair[0])[:beams]
        running = [pair for pair in best if pair[1][-1] != model.eos_id][:beams]
        if len(finished) == beams and finished[-1][0] >= running[0][0]:
            break
    return max(finished + running, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("name", ["llava", "owl", "minigpt_v1"])
def test_ids_equal_a_plain_search(
    name: str, beams: int, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    model = tiny(name).load()
    text = texts_of(model)[0]
    features = model.image_features(model.preprocess(images[:1]))[0]
    prompt = model.encode_prompt(text, for_generation=True)
    ended = 0
    for seed in range(6):
        row = torch.randn(48, generator=torch.Generator().manual_seed(seed)) * 0.9
        model.lm.lm_head.weight.data[model.eos_id] = row  # so that some sequences end
        expected = plain_beams(model, features, prompt, beams, 6)
        assert model.generate_ids(images[:1], [text], num_beams=beams, max_new_tokens=6) == [expected]
        ended += expected[-1] == model.eos_id
    assert ended or beams == 1


def test_only_new_ids_and_the_end_symbol(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("llava").load()
    rows = model.generate_ids(images, texts_of(model), max_new_tokens=5)
    assert [len(row) for row in rows] == [5, 5, 5]
    # Were the second token of the first row the end symbol, that row would end with it.
    model.stop_ids = frozenset({rows[0][1]})
    assert model.generate_ids(images, texts_of(model), max_new_tokens=5)[0] == rows[0][:2]


def test_a_seed_makes_sampling_reproducible(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("llava").load()

    def sample(seed: int) -> list[list[int]]:
        ids: list[list[int]] = model.generate_ids(
            images, texts_of(model), do_sample=True, temperature=1.5, top_p=0.95, seed=seed, max_new_tokens=8
        )
        return ids

    state = torch.random.get_rng_state()
    assert sample(1) == sample(1) != sample(2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_settings_of_the_checkpoint_do_not_leak_in(tiny: Callable[[str], Tiny]) -> None:
    """Llama-2-chat's generation_config.json asks for sampling; the published captioning does not."""
    model = tiny("minigpt").load()
    config = Decoding(num_beams=5).config(model.stop_ids)
    assert config.do_sample is False and config.length_penalty == 0.0 and config.eos_token_id == [2]
    assert not model.lm.generation_config.do_sample


def test_minigpt_cuts_its_text_as_published(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("minigpt").load()
    ids = model.tokenizer.encode("[INST] x [/INST] a dog </s> rest")
    assert model.decode(ids[: ids.index(2) + 1]) == "a dog"


def test_nothing_in_nothing_out(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("llava").load()
    assert model.generate([], []) == []
    with pytest.raises(DataError, match="0 images, 1 texts"):
        model.generate([], [model.format_prompt("Describe")])


def test_cutting_at_a_stop_symbol() -> None:
    rows = torch.tensor([[5, 2, 0, 0], [5, 6, 7, 8], [3, 0, 0, 0]])
    assert cut_at_stop(rows, {2, 3}) == [[5, 2], [5, 6, 7, 8], [3]]


@pytest.mark.parametrize("beams", [1, 5])
def test_decoding_config_is_valid(beams: int) -> None:
    config = Decoding(num_beams=beams, do_sample=beams == 1, temperature=0.7, top_p=0.9).config({2, 5}, 0)
    config.validate()
    assert config.num_beams == beams and config.eos_token_id == [2, 5]
