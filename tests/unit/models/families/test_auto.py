"""`auto`: families that transformers loads itself, by their processor and plain forward."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image

from common.errors import ArgumentError, CheckpointError, DataError
from common.files.images import ImageFolder
from common.models import load_model
from common.models.base import PackedSettings
from common.models.families.raw_images import RawImages
from common.models.generation.decoding import Decoding
from common.models.packed.foreign.handing import with_tail
from common.models.packed.layout import PackedImage
from common.progress import announce_once
from tests.unit.models.tiny_auto import SPECIAL, write_auto

AUTO = tuple(SPECIAL)


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A loader of a tiny checkpoint of a family, written at its first use."""
    folders: dict[str, Path] = {}

    def load(family: str) -> Any:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family) / family
            write_auto(folders[family], family)
        return load_model("auto", folders[family])

    return load


@pytest.mark.parametrize("family", AUTO)
def test_losses_equal_the_models_own(family: str, auto: Callable[[str], Any], images: list[Image.Image]) -> None:
    """Against transformers' loss over labels, with prompt and target given as one text."""
    model = auto(family)
    text, target = model.format_prompt("Describe", "a red"), " dog, and"
    found = model.sample_losses(images[:1], [text], [target], [True])[0]
    inputs = {"text": [text + target + "</s>"], "images": [[images[0]]], "return_tensors": "pt"}
    whole = model.processor(**inputs, add_special_tokens=False)
    labels = torch.full_like(whole["input_ids"], -100)
    length = len(model.encode_target(target, True))
    labels[:, -length:] = whole["input_ids"][:, -length:]
    torch.testing.assert_close(found, model.lm(**whole, labels=labels).loss, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", AUTO)
def test_a_batch_equals_single_runs(
    family: str, beams: int, auto: Callable[[str], Any], images: list[Image.Image]
) -> None:
    model = auto(family)
    texts = [model.format_prompt(prompt) for prompt in ("Describe", "Please describe the image in detail.", "a")]
    together = model.generate_ids(images, texts, num_beams=beams, max_new_tokens=8)
    pairs = zip(images, texts, strict=True)
    alone = [model.generate_ids([i], [t], num_beams=beams, max_new_tokens=8)[0] for i, t in pairs]
    assert together == alone and all(1 <= len(row) <= 8 for row in together)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", AUTO)
def test_ids_are_those_of_transformers_and_the_way_is_said(
    family: str, beams: int, auto: Callable[[str], Any], images: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    """By trees where the language model is of a Llama's shape, whatever its positions; said once."""
    if (family, beams) == ("internvl", 3) and Version(transformers.__version__) < Version("5.23"):
        pytest.skip("with beams, older releases of transformers mix up the tiles of InternVL's images")
    announce_once.cache_clear()
    model = auto(family)
    texts = [model.format_prompt(prompt) for prompt in ("Describe", "Please describe the image in detail.", "a")]
    prompts = [model.encode_prompt(text) for text in texts]
    expected = model.continue_batch(images, prompts, Decoding(beams, 8), [""] * 3)
    assert model.generate_ids(images, texts, num_beams=beams, max_new_tokens=8) == expected
    model.generate_ids(images[:1], texts[:1], max_new_tokens=1)
    assert capsys.readouterr().err.count("answers are made by the decoder of trees") == 1
    sample = {"do_sample": True, "seed": 1, "max_new_tokens": 8}
    turned = model.generate_ids(images[::-1], texts[::-1], **sample)
    assert model.generate_ids(images, texts, **sample) == turned[::-1]


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_beams_that_generate_does_not_take_with_an_image(
    family: str, auto: Callable[[str], Any], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its embeddings, with the same ids, where the decoder is given no more than a text's; else one line."""
    model = auto(family)
    prompts = [model.encode_prompt(model.format_prompt(text)) for text in ("Describe", "a")]
    asked = (images[:2], prompts, Decoding(3, 8), [""] * 2)
    expected, generate = model.continue_batch(*asked), model.lm.generate

    def without_images(**given: Any) -> Any:
        if "pixel_values" in given:
            raise ValueError("Image features and image tokens do not match\nsee there")
        return generate(**given)

    monkeypatch.setattr(model.lm, "generate", without_images)
    if family == "idefics3":
        assert model.continue_batch(*asked) == expected
        return
    with pytest.raises(ArgumentError, match="tokens do not match with 3 beams; try --generate_num_beams 1"):
        model.continue_batch(*asked)


@pytest.mark.parametrize("selection", ["connector", "lm_head", "lora", "decoder", "connector+lora"])
@pytest.mark.parametrize("family", AUTO)
def test_every_selection_trains_saves_and_loads(
    family: str, selection: str, auto: Callable[[str], Any], images: list[Image.Image], tmp_path: Path
) -> None:
    model = auto(family)
    chosen = model.set_trainable(selection)
    assert not any(".visual.blocks." in name or "vision_" in name for name in chosen)
    sample = (images[:2], [model.format_prompt("Describe")] * 2, ["a dog", "a"], [True, False])
    model.sample_losses(*sample).sum().backward()
    assert all(p.grad is not None for p in chosen.values())
    for parameter in chosen.values():
        parameter.data += 0.01
    model.save_trained(tmp_path, list(chosen))
    again = auto(family)
    assert set(again.load_trained(tmp_path).loaded) == set(chosen)
    assert torch.equal(again.sample_losses(*sample), model.sample_losses(*sample))


def test_the_trainers_way_through_pixels_and_features(auto: Callable[[str], Any], images: list[Image.Image]) -> None:
    """Distinct images once, rows by index, caption tokens once: the same losses as one by one."""
    model = auto("internvl")
    features = model.image_features(model.preprocess(images[:2]).pin_memory().to("cpu"))
    assert features.shape[0] == 2 and 0 < features.shape[1] < 20 and features.shape[2] == 32
    rows = features[torch.tensor([1, 0, 1]).to(features.device)]
    prompts = [model.encode_prompt(model.format_prompt(text)) for text in ("Describe", "a", "a")]
    targets = [model.encode_caption(text).ids for text in ("a dog", "a red cat", "b")]
    losses = model.target_losses(rows, prompts, targets)
    assert losses.shape == (3, max(map(len, targets))) and (losses[2, len(targets[2]) :] == 0).all()
    alone = model.target_losses(features[torch.tensor([0])], prompts[1:2], targets[1:2])[0]
    torch.testing.assert_close(losses[1, : len(targets[1])], alone)


@pytest.mark.parametrize("family", AUTO)
def test_packs_and_what_is_kept_of_the_tower(
    family: str, auto: Callable[[str], Any], images: list[Image.Image]
) -> None:
    """Losses and gradients of the connector: of one row a caption, of a pack, and of a pack without the tower."""
    model = auto(family)
    assert model.packs and model.sees_apart
    chosen = list(model.set_trainable("connector").values())
    prompt = model.encode_prompt(model.format_prompt("Describe"))
    captions = tuple(model.encode_caption(text).ids for text in ("A dog, and a cat.", "a", "A red bench"))
    groups = [PackedImage(n, prompt, captions[: 3 - n]) for n in range(3)]
    pixels = model.preprocess(images)
    rows = [(images[group.feature], target) for group in groups for target in group.branches]
    plain = model.target_losses([image for image, _ in rows], [prompt] * 6, [target for _, target in rows])
    seen = model.kept(model.keep(pixels))
    packs = [(given, model.lay_out(given, groups, 0, 0, static=False)) for given in (pixels, seen)]
    lengths = [model.tokens_of(image.size, prompt) + len(prompt.before) + len(prompt.after) for image in images]
    assert packs[0][1].longest == tuple(n + len(captions[0]) - 1 for n in lengths)
    whole, kept = (model.packed_losses(given, layout) for given, layout in packs)
    torch.testing.assert_close(whole, plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(whole, kept)
    expected, *found = (torch.autograd.grad(losses.sum(), chosen) for losses in (plain, whole, kept))
    for gradients in found:
        torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-6)


def test_products_of_the_connector_in_16_bits(auto: Callable[[str], Any], images: list[Image.Image]) -> None:
    """Masters stay wide; with `fast_connector` gradients differ by rounding alone, with the tower kept or not."""
    model = auto("internvl").to(torch.bfloat16)
    chosen = list(model.set_trainable("connector").values())
    groups = [PackedImage(0, model.encode_prompt(model.format_prompt("a")), (model.encode_caption("A dog.").ids,))]
    pixels = model.preprocess(images[:1])
    for given in (pixels, model.kept(model.keep(pixels))):
        gradients = []
        for fast in (False, True):
            model.set_packed(PackedSettings(fast_connector=fast))
            losses = model.packed_losses(given, model.lay_out(given, groups, 0, 0, static=False))
            gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(losses.sum(), chosen)]))
        wide, fast_ones = gradients
        assert wide.dtype == torch.float32 and 0 < float((wide - fast_ones).norm()) <= 0.02 * float(wide.norm())


def test_companions_of_the_tokens_are_continued() -> None:
    inputs = {
        "input_ids": torch.tensor([[1, 2]]),
        "attention_mask": torch.tensor([[1, 1]]),
        "mm_token_type_ids": torch.tensor([[1, 0]]),
        "pixel_values": torch.zeros(4, 3),
    }
    longer = with_tail(inputs, torch.tensor([[7, 8, 9]]))
    assert longer["input_ids"].tolist() == [[1, 2, 7, 8, 9]] and longer["attention_mask"].tolist() == [[1] * 5]
    assert longer["mm_token_type_ids"].tolist() == [[1, 0, 0, 0, 0]] and longer["pixel_values"].shape == (4, 3)


def test_bad_checkpoints_and_images(tmp_path: Path, auto: Callable[[str], Any]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(CheckpointError, match="transformers does not load"):
        load_model("auto", tmp_path)
    with pytest.raises(DataError, match="zero side"):
        auto("internvl").preprocess([Image.new("RGB", (0, 4))])
    assert len(RawImages((1, 2), torch.device("cpu"))) == 2


@pytest.mark.parametrize(
    "template", ["{% for %}", "{{ raise_exception('No!') }}", "{{ a.b }}", "{{ 'a' + messages[0]['content'] }}"]
)
def test_a_template_that_fails_is_one_line(template: str, auto: Callable[[str], Any]) -> None:
    model = auto("internvl")
    model.processor.chat_template = template
    with pytest.raises(
        CheckpointError, match=r"chat template of .* fails on a picture with a question: .*list of parts"
    ):
        model.format_prompt("a")


def test_a_text_that_a_processor_does_not_take_is_one_line(auto: Callable[[str], Any]) -> None:
    """With another placeholder in the question."""
    model = auto("internvl")
    with pytest.raises(DataError, match=r"InternVLProcessor takes no image of 8x9 pixels with this text: ."):
        model.generate([Image.new("RGB", (8, 9))], [model.format_prompt("What is <IMG_CONTEXT>?")])


def test_an_image_that_there_is_no_room_for_is_named(
    auto: Callable[[str], Any], images: list[Image.Image], tmp_path: Path
) -> None:
    """By its size alone, among others, and as another process hands it over."""
    for number, size in enumerate(((28, 56), (56, 84), (30, 30))):
        images[0].resize(size).save(tmp_path / f"{number}.png")
    found = pickle.loads(pickle.dumps(ImageFolder(tmp_path).open_all(["0.png", "1.png", "2.png"])))
    model = auto("qwen2_5_vl")
    prompt = model.encode_prompt(model.format_prompt("a"))
    small, large = (model.made_inputs([i], [prompt])["input_ids"].shape[1] for i in found[:2])
    model.generate(found[:1], [model.format_prompt("a")], max_new_tokens=1)  # finds its way to answer
    model.lm.config.get_text_config().max_position_embeddings = large - 1
    said = rf"1\.png: an image of 56x84 pixels and its prompt take {large} tokens, .* {large - 1} positions.*: '"
    assert small < large
    with pytest.raises(DataError, match="^" + said):
        model.generate(found, [model.format_prompt("a")] * 3, max_new_tokens=1)
    with pytest.raises(DataError, match=r"^0\.png: .* leave the image or the text out: '.* of the dogs") as error:
        model.generate(found[:1] * 2, [model.format_prompt(t) for t in ("a", "Which of the dogs" * large)])
    assert len(str(error.value)) < 400  # of two questions about one image it is said which
    with pytest.raises(DataError, match="^" + said):
        model.made_inputs(model.preprocess(found[:2]).images, [prompt] * 2)
    with pytest.raises(DataError, match="^" + said):
        model.tokens_of((56, 84), prompt, "1.png")


def test_a_thought_without_an_end_is_no_text(auto: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Whether its marks are special tokens, which decoding leaves out, or plain text."""
    model = auto("internvl")
    text = model.encode_caption("A dog").ids
    model.begins_of_thoughts, model.ends_of_thoughts = frozenset({300}), frozenset({301})
    assert [model.decode(ids) for ids in (text, [300, *text, 301, *text], [300, *text])] == ["A dog", "A dog", ""]
    assert model.decode(model.encode_caption("<think>A dog").ids) == ""
    assert capsys.readouterr().err.count("give more --max_new_tokens") == 1


def test_a_processor_without_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tokenizer's is taken, and said; without that, too, it is refused."""
    write_auto(tmp_path / "model", "internvl")
    (template := tmp_path / "model" / "chat_template.jinja").rename(tmp_path / "template")
    with pytest.raises(CheckpointError, match="no chat template"):
        load_model("auto", tmp_path / "model")
    said = tmp_path / "model" / "tokenizer_config.json"
    said.write_text(json.dumps(json.loads(said.read_text()) | {"chat_template": (tmp_path / "template").read_text()}))
    model = load_model("auto", tmp_path / "model")
    assert not template.exists() and "IMG_CONTEXT" in model.format_prompt("a")
    assert "has no chat template; its tokenizer's is taken" in capsys.readouterr().err
