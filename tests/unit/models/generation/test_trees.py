"""The decoder of trees against transformers' own `generate`: token for token, in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import ArgumentError, ResourceError
from common.models.generation import growing
from common.models.generation.asking import Asked, Forest
from common.models.generation.decoding import Decoding
from common.models.generation.growing import grow_texts
from common.models.generation.plain import by_transformers
from common.models.generation.search.chance import chances, draw
from common.models.generation.tree import memory
from common.models.generation.tree.llama import why_not
from common.models.generation.tree.shapes import TableShape
from common.models.generation.tree.trees import shared_start
from common.models.lanes import ahead
from common.models.text.ids import PromptIds
from tests.unit.models.conftest import FAMILIES, Tiny

PROMPTS = ("Describe", "Please describe the image.", "a red bench, and a cat? " * 3, "a dog", "")


@pytest.fixture(params=FAMILIES)
def asked(request: pytest.FixtureRequest, tiny: Callable[[str], Tiny], images: list[Image.Image]) -> tuple[Any, ...]:
    """A tiny model of each family, features of seven images, and prompts of unequal length."""
    model = tiny(request.param).load()
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))[torch.tensor([0, 1, 2, 0, 1, 2, 0])]
    texts = [model.format_prompt(PROMPTS[i % len(PROMPTS)]) for i in range(len(features))]
    return model, features, [model.encode_prompt(text, for_generation=True) for text in texts]


def ends_early(model: Any, seed: int) -> None:
    """Make the end symbol as likely as others, so that texts end anywhere."""
    size = model.lm.lm_head.weight.shape[1]
    model.lm.lm_head.weight.data[model.eos_id] = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 0.9


def trees(
    model: Any, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, most: int | None = None
) -> list[list[int]]:
    """Answers with at most so many at a time, or as many as fit."""
    questions = [Asked((prompt,), (str(row),)) for row, prompt in enumerate(prompts)]
    found = {said.asked: said.ids for said in model.answers(questions, features, decoding, most)}
    return [found[row] for row in range(len(prompts))]


@pytest.mark.parametrize("beams", [1, 5])
def test_ids_are_those_of_transformers(asked: tuple[Any, ...], beams: int) -> None:
    """All families, prompts of unequal length, more images than slots, ends at the first, some and the last place."""
    model, features, prompts = asked
    lengths = set()
    for seed in range(3):
        ends_early(model, seed)
        decoding = Decoding(beams, 9)
        expected = model.continue_batch(features, prompts, decoding, [""] * len(prompts))
        assert trees(model, features, prompts, decoding, most=2 * beams) == expected
        assert trees(model, features, prompts, decoding, most=50) == expected
        lengths |= {len(row) for row in expected}
    assert len(lengths) > 1 or beams == 1


@pytest.fixture(scope="module")
def llava(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> tuple[Any, ...]:
    """One model, to be asked often."""
    model = tiny("llava").load()
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))
    return model, features, [model.encode_prompt(model.format_prompt(p), for_generation=True) for p in PROMPTS[:3]]


def first_of_equals(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best and their places, equal ones in their order; torch's own order of those depends on all the others."""
    best, places = scores.sort(dim=-1, descending=True, stable=True)
    return best[..., :k], places[..., :k]


@settings(max_examples=40, deadline=None)
@given(
    beams=st.integers(1, 5),
    penalty=st.sampled_from([0.0, 1.0, -1.0, 0.7]),
    steps=st.integers(1, 7),
    stops=st.sets(st.integers(0, 30), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    coarse=st.booleans(),
)
def test_every_search_is_that_of_transformers(
    llava: tuple[Any, ...], beams: int, penalty: float, steps: int, stops: set[int], seed: int, coarse: bool
) -> None:
    """Length penalties, one to five beams, several end symbols, and vocabularies full of equal scores."""
    model, features, prompts = llava
    head = model.lm.lm_head.weight
    kept, former = head.data.clone(), model.stop_ids
    random = torch.Generator().manual_seed(seed)
    head.data[:40] = torch.randn(40, head.shape[1], generator=random) * 0.8
    if coarse:  # every id has a twin with the same score
        head.data[: len(head) // 2 * 2] = head.data[: len(head) // 2].repeat_interleave(2, 0)
    model.stop_ids = frozenset(stops)
    try:
        decoding = Decoding(beams, steps, penalty)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "topk", first_of_equals)
            patch.setattr(torch.Tensor, "topk", first_of_equals)
            expected = model.continue_batch(features, prompts, decoding, [""] * 3)
            assert trees(model, features, prompts, decoding, most=2 * beams) == expected
    finally:
        head.data.copy_(kept)
        model.stop_ids = former


SAMPLED = Decoding(1, 9, do_sample=True, temperature=1.3, top_p=0.9, seed=5)


def test_a_sample_depends_on_seed_image_and_number_alone(
    asked: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on slots, lanes, order, neighbours, or the way that it is computed."""
    model, features, prompts = asked
    names = [f"{row}/0" for row in range(len(prompts))]

    def drawn(rows: Sequence[int], most: int) -> dict[int, list[int]]:
        questions = [Asked((prompts[row],), (names[row],)) for row in rows]
        seen = features[torch.tensor(rows)]
        return {rows[said.asked]: said.ids for said in model.answers(questions, seen, SAMPLED, most)}

    whole = drawn(range(len(prompts)), 50)
    assert drawn([6, 2, 4, 0], 2) == {row: whole[row] for row in (6, 2, 4, 0)}
    assert drawn(range(len(prompts)), 3) == whole
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # three lanes, a slot each
    try:
        monkeypatch.setattr(growing, "ROWS", 1)
        assert drawn(range(len(prompts)), 3) == whole
    finally:
        torch.set_num_threads(before)
    by_batch = model.continue_batch(features, prompts, SAMPLED, names)
    assert dict(enumerate(by_batch)) == whole
    assert len({tuple(ids) for ids in whole.values()}) > 3


def test_samples_of_a_call_do_not_depend_on_its_order(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    """Without names the picture itself and its text are the name, equal pairs are numbered."""
    model = tiny("llava").load()
    text = model.format_prompt("Describe")
    how = {"max_new_tokens": 8, "do_sample": True, "seed": 3, "temperature": 1.5}
    rows = model.generate_ids([*images, images[0]], [text] * 4, **how)
    turned = model.generate_ids([images[2], images[0], images[1]], [text] * 3, **how)
    assert turned == [rows[2], rows[0], rows[1]] and rows[3] != rows[0]
    assert model.generate_ids([images[0].copy()], [text], **how) == [rows[0]]


def test_many_questions_of_one_image_are_one_tree(asked: tuple[Any, ...], images: list[Image.Image]) -> None:
    """More of them than branches; their answers are those of each alone."""
    model, features, _ = asked
    texts = [model.format_prompt(f"{word} {'a cat? ' * (i % 4)}") for i, word in enumerate("abcdefghijk")]
    prompts = tuple(model.encode_prompt(text, for_generation=True) for text in texts)
    questions = [Asked(prompts, ("",) * 11), Asked(prompts[:2], ("",) * 2), Asked(prompts[3:], ("",) * 8)]
    ends_early(model, 1)
    found = {(s.asked, s.place): s.ids for s in model.answers(questions, features[:3], Decoding(1, 6), most=5)}
    for number, question in enumerate(questions):
        rows = [features[number]] * len(question.prompts)
        expected = model.continue_batch(rows, question.prompts, Decoding(1, 6), [""] * len(rows))
        assert [found[number, place] for place in range(len(rows))] == expected
    together = model.generate_ids([images[0]] * 11 + [images[1]] * 2, [*texts, *texts[:2]], max_new_tokens=6)
    assert together == [found[0, place] for place in range(11)] + [found[1, place] for place in range(2)]


def test_texts_without_images(llava: tuple[Any, ...]) -> None:
    """What all begin with is the root; twenty prompts are three trees of it."""
    model, _, _ = llava
    random = torch.Generator().manual_seed(3)
    prompts = [[1, 7, 9, *torch.randint(3, 300, (1 + i % 5,), generator=random).tolist()] for i in range(20)]
    found = grow_texts(model.lm.model, model.lm.lm_head, prompts, Decoding(1, 6), model.stop_ids)
    for prompt, ids in zip(prompts, found, strict=True):
        whole = torch.tensor([prompt])
        assert by_transformers(model.lm, {"input_ids": whole}, Decoding(1, 6), model.stop_ids, [""])[0] == ids


def test_images_are_opened_ahead_in_order() -> None:
    """In threads, a few before they are asked for, and errors come through in their turn."""
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        if number == 7:
            raise ValueError(number)
        return number * number

    source = ahead(work, range(20), threads=3, many=4)
    assert [next(source) for _ in range(7)] == [n * n for n in range(7)] and max(done) < 12
    with pytest.raises(ValueError, match="7"):
        next(source)
    assert list(ahead(work, range(3), threads=0, many=4)) == [0, 1, 4]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prompt_that_ends_with_its_image(tiny: Callable[[str], Tiny], images: list[Image.Image], beams: int) -> None:
    model = tiny("llava").load()
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))
    prompts = [PromptIds((1, 5, 9), ()), PromptIds((1, 5, 9), (7, 8)), PromptIds((1, 6), ())]
    expected = model.continue_batch(features, prompts, Decoding(beams, 5), [""] * 3)
    assert trees(model, features, prompts, Decoding(beams, 5), most=50) == expected


def test_heads_that_share_keys(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    """Grouped queries: four heads over two key heads, a decoder with biases and another head size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = tiny("llava").load()
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 400}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "attention_bias": True}
    model.lm = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    for parameter in model.lm.parameters():
        parameter.data.normal_(0, 0.3)
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))
    prompts = [model.encode_prompt(model.format_prompt(p), for_generation=True) for p in PROMPTS[:3]]
    for beams in (1, 4):
        expected = model.continue_batch(features, prompts, Decoding(beams, 8), [""] * 3)
        assert trees(model, features, prompts, Decoding(beams, 8), most=2 * beams) == expected
    questions = [Asked(tuple(prompts), ("",) * 3)]
    found = {said.place: said.ids for said in model.answers(questions, features[:1], Decoding(1, 8))}
    expected = model.continue_batch([features[0]] * 3, prompts, Decoding(1, 8), [""] * 3)
    assert [found[place] for place in range(3)] == expected


def test_adapters_and_changed_weights_count(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("llava").load()
    chosen = model.set_trainable("lora+lm_head")
    for parameter in chosen.values():
        parameter.data += torch.randn_like(parameter) * 0.2
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))
    prompts = [model.encode_prompt(model.format_prompt(p), for_generation=True) for p in PROMPTS[:3]]
    expected = model.continue_batch(features, prompts, Decoding(2, 8), [""] * 3)
    assert trees(model, features, prompts, Decoding(2, 8), most=4) == expected


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**62), key=st.text(max_size=20), count=st.integers(1, 50))
def test_chances_are_a_stream_of_their_name(seed: int, key: str, count: int) -> None:
    numbers = chances(seed, key, count)
    assert torch.equal(numbers, chances(seed, key, 60)[:count]) and ((numbers >= 0) & (numbers < 1)).all()
    assert not torch.equal(numbers, chances(seed + 1, key, count))
    assert not torch.equal(numbers, chances(seed, f"{key}'", count))


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_draws_follow_the_distribution(top_p: float) -> None:
    """100,000 even chances give every id its share, of the ids that transformers' warper leaves."""
    from transformers import TopPLogitsWarper

    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(0)) * 2
    even = (torch.arange(100_000) + 0.5) / 100_000
    drawn = draw(logits.expand(len(even), -1), even, 1.7, top_p).bincount(minlength=30) / len(even)
    warped = logits / 1.7
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)  # type: ignore[arg-type]
    torch.testing.assert_close(drawn, warped.softmax(-1)[0], atol=2e-5, rtol=0)
    assert draw(logits, torch.tensor([1 - 2**-24]), 1.0, 0.5).item() in warped.topk(30)[1]


def test_samples_are_without_beams(llava: tuple[Any, ...]) -> None:
    model, features, prompts = llava
    with pytest.raises(ArgumentError, match="without beams, not with 3"):
        trees(model, features, prompts, Decoding(3, 4, do_sample=True))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=5))
def test_what_rows_share(rows: list[tuple[int, ...]]) -> None:
    """The longest common start, but never a whole row."""
    found = shared_start(rows)
    assert len({row[:found] for row in rows}) == 1 and found < min(map(len, rows))
    assert found == min(map(len, rows)) - 1 or len({row[: found + 1] for row in rows}) > 1


def test_the_text_before_the_image_is_the_root_of_all() -> None:
    asked = [Asked((PromptIds((1, 2), (5, 6, 7)), PromptIds((1, 2), (5, 6, 8, 9))), ("a", "b"))]
    asked.append(Asked((PromptIds((1, 3), (5,)),), ("c",)))
    forest = Forest.of(asked)
    assert forest.root == (1,) and [g.before for g in forest.groups] == [(2,), (3,)]
    assert [g.shared for g in forest.groups] == [(5, 6), ()]
    assert [g.starts for g in forest.groups] == [((7,), (8, 9)), ((5,),)]
    sizes = forest.sizes(image_tokens=10)
    assert (sizes.trunk, sizes.start, sizes.branches) == (14, 2, 2)


def test_too_little_memory_is_halved_and_said_or_refused(
    llava: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, features, prompts = llava
    expected = trees(model, features, prompts, Decoding(1, 4))
    monkeypatch.setattr(memory, "free_memory", lambda _: 360_000)
    assert trees(model, features, prompts, Decoding(1, 4), most=3) == expected
    assert "3 at a time need" in capsys.readouterr().err
    monkeypatch.setattr(memory, "free_memory", lambda _: 10_000)
    with pytest.raises(ResourceError, match=r"decoding one image needs .* lower --max_new_tokens") as error:
        trees(model, features, prompts, Decoding(1, 4), most=3)
    assert "\n" not in str(error.value)


def test_memory_that_runs_out_is_tried_again_with_half(capsys: pytest.CaptureFixture[str]) -> None:
    shape = TableShape(8, 1, 10, 10)

    def make(shape: TableShape) -> int:
        if shape.slots > 2:
            raise torch.OutOfMemoryError
        return shape.slots

    assert memory.make_fitting(shape, 10, make) == 2
    assert "8 at a time do not fit into the memory; trying 4" in capsys.readouterr().err

    def never(_: TableShape) -> int:
        raise torch.OutOfMemoryError

    with pytest.raises(ResourceError, match="decoding one image needs"):
        memory.make_fitting(shape, 10, never)


def test_decoders_of_another_shape_are_named(llava: tuple[Any, ...]) -> None:
    """And those whose rotations change with the length are left to transformers."""
    model, features, prompts = llava
    assert why_not(model.lm.model) is None
    assert why_not(model.lm) == "its decoder is a LlamaForCausalLM, not of the shape of a Llama"
    former = model.lm.config.rope_parameters
    model.lm.config.rope_parameters = {**former, "rope_type": "dynamic", "factor": 2.0}
    try:
        assert "changes with the length" in (why_not(model.lm.model) or "")
        assert len(trees(model, features, prompts, Decoding(1, 3))) == 3
    finally:
        model.lm.config.rope_parameters = former
