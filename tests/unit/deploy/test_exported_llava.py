"""The bundled model exported: plain transformers gives the prompt, the text and the batch that are given here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from common.args import ModelArguments
from common.errors import ArgumentError
from common.files.storage import read_json
from common.models import load_model
from common.prompts import CAPTION_EVAL, TRAIN
from deploy.export import ExportArguments, export


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mini-llava, in float32 so that texts can be compared."""
    args = ModelArguments(device="cpu", dtype="float32")
    return export(args, ExportArguments(str(tmp_path_factory.mktemp("export") / "out")))


@pytest.fixture(scope="module")
def processor(exported: Path) -> Any:
    """As plain transformers loads it."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(exported)


@pytest.fixture(scope="module")
def theirs(exported: Path) -> Any:
    """The model as plain transformers loads it; nothing is missing or left over."""
    from transformers import AutoModelForImageTextToText

    model, report = AutoModelForImageTextToText.from_pretrained(exported, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Three images of the encoder's size, so that resizing plays no part."""
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (112, 112, 3), dtype=np.uint8)) for _ in range(3)]


def turn(text: str, *images: Any) -> dict[str, Any]:
    """A user's turn."""
    return {"role": "user", "content": [*({"type": "image"} for _ in images or (1,)), {"type": "text", "text": text}]}


@pytest.mark.parametrize("question", [TRAIN, CAPTION_EVAL, 'It\'s "{odd}" {% raw %}?', "zwei\nZeilen"])
def test_the_chat_template_is_the_prompt_of_training(processor: Any, question: str) -> None:
    prompt = load_model("llava").format_prompt(question)
    for source in (processor, processor.tokenizer):
        assert source.apply_chat_template([turn(question)], add_generation_prompt=True, tokenize=False) == prompt


def test_the_text_may_come_before_its_image(processor: Any) -> None:
    content = [{"type": "text", "text": TRAIN}, {"type": "image"}]
    found = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert found == load_model("llava").format_prompt(TRAIN)


def test_several_turns_are_llavas_conversation(processor: Any) -> None:
    """As LLaVA's conv_vicuna_v1 joins them: a blank after the user, the end symbol after the assistant."""
    turns = [turn("What?"), {"role": "assistant", "content": "A dog."}, {"role": "user", "content": "Sure?"}]
    found = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert found.endswith("USER: <image>\nWhat? ASSISTANT: A dog.</s>USER: Sure? ASSISTANT:")
    own = processor.apply_chat_template([{"role": "system", "content": "Be brief."}, turns[2]])
    assert own == "Be brief. USER: Sure? "


def test_ids_are_those_of_training(processor: Any, pictures: list[Image.Image]) -> None:
    ours = load_model("llava")
    prompt = ours.format_prompt(CAPTION_EVAL)
    ids = processor(text=prompt, images=pictures[0], return_tensors="pt")["input_ids"][0].tolist()
    cut = ours.encode_prompt(prompt)
    assert ids == [*cut.before, *[259] * 64, *cut.after]


def test_a_batch_of_unequal_prompts_gives_the_texts_given_here(
    processor: Any, theirs: Any, pictures: list[Image.Image]
) -> None:
    ours = load_model("llava")
    texts = [ours.format_prompt(question) for question in (TRAIN, CAPTION_EVAL, "Describe")]
    expected = ours.generate(pictures, texts, max_new_tokens=30)
    inputs = processor(text=texts, images=[[image] for image in pictures], return_tensors="pt", padding=True)
    with torch.no_grad():
        rows = theirs.generate(**inputs, max_new_tokens=30)
    found = processor.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [text.strip() for text in found] == expected


def test_pixels_of_other_sizes_are_those_of_training_with_pillow(exported: Path) -> None:
    from transformers import CLIPImageProcessorPil

    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    found = CLIPImageProcessorPil.from_pretrained(exported)(image, return_tensors="pt")["pixel_values"]
    assert torch.equal(found, load_model("llava").preprocess([image]))


def test_padded_images_stay_padded(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, LlavaImageProcessorPil

    args = ModelArguments(device="cpu", image_aspect_ratio="pad")
    out = export(args, ExportArguments(str(tmp_path / "out")))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    expected = load_model("llava", image_aspect_ratio="pad").preprocess([image])
    found = LlavaImageProcessorPil.from_pretrained(out)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    fast = AutoImageProcessor.from_pretrained(out)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(fast, expected, rtol=0, atol=0.05)


def test_tensors_have_the_published_names(exported: Path) -> None:
    """Those of the llava-hf folders, from which vLLM and transformers map."""
    with safe_open(exported / "model.safetensors", "pt") as file:
        names = set(file.keys())
    expected = {
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
        "multi_modal_projector.linear_1.weight",
        "vision_tower.vision_model.embeddings.class_embedding",
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
    }
    assert expected <= names
    starts = ("language_model.", "multi_modal_projector.", "vision_tower.vision_model.")
    assert all(name.startswith(starts) for name in names)


def test_every_version_finds_processor_and_template(exported: Path) -> None:
    """Newer ones nest the image processor and keep the template in a file of its own, older ones do neither."""
    nested = read_json(exported / "processor_config.json")
    plain = read_json(exported / "preprocessor_config.json")
    assert nested["processor_class"] == "LlavaProcessor" and nested["patch_size"] == 14
    assert plain["image_processor_type"] == "CLIPImageProcessor" and plain["crop_size"]["height"] == 112
    template = (exported / "chat_template.jinja").read_text()
    tokens = read_json(exported / "tokenizer_config.json")
    assert tokens["chat_template"] == template and tokens["padding_side"] == "left"
    assert read_json(exported / "config.json")["dtype"] == "float32"
    assert read_json(exported / "generation_config.json")["do_sample"] is False
    assert "torch_dtype" not in json.loads((exported / "config.json").read_text())


def test_the_card_says_how_to_load_it_and_that_runs(
    exported: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code of the card, as it stands there, in the folder that holds the export."""
    monkeypatch.chdir(exported.parent)
    pictures[0].save("photo.jpg", quality=100, subsampling=0)
    code = (exported / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(compile(code, "README.md", "exec"), {})
    ours = load_model("llava")
    expected = ours.generate([Image.open("photo.jpg")], [ours.format_prompt(CAPTION_EVAL)], max_new_tokens=200)
    assert capsys.readouterr().out.strip() == expected[0]


def test_only_an_export_is_replaced(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArgumentError, match="is none of ours"):
        export(ModelArguments(device="cpu"), ExportArguments(str(tmp_path / "mine"), restart=True))
    with pytest.raises(ArgumentError, match="holds an input of this command"):
        args = ModelArguments(device="cpu", llava_path=str(exported))
        export(args, ExportArguments(str(exported.parent), restart=True))
    assert (tmp_path / "mine" / "thesis.txt").is_file() and (exported / "config.json").is_file()
