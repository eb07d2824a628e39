"""The bundled models load with the plain loaders of their libraries, are small, and see."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common import prompts
from common.models import load_model
from common.paths import MINI_CLIP, MINI_LLAVA
from dataset.mini.categories import BY_NAME
from dataset.mini.layout import generator, make_layout
from dataset.mini.paint import paint
from dataset.mini.pretrain_llava import IMAGE_TOKENS, TextEncoder

MOST = 16_000_000  # bytes, both together
LARGEST_FILE = 11_500_000


@cache
def pictures(count: int) -> list[tuple[Image.Image, set[str]]]:
    """Pictures of a stream that no training used, with the names of what is in them."""
    found = []
    for index in range(count):
        rng = generator("tune", 81, index)
        picture, layout = paint(make_layout(rng), rng)
        found.append((picture, layout.present()))
    return found


def test_both_are_below_16_megabytes_and_hold_no_pickle() -> None:
    files = [path for folder in (MINI_LLAVA, MINI_CLIP) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) < MOST
    assert max(path.stat().st_size for path in files) < LARGEST_FILE
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


def test_mini_llava_is_a_plain_llava() -> None:
    from transformers import AutoTokenizer, CLIPImageProcessor, LlavaForConditionalGeneration

    model, info = LlavaForConditionalGeneration.from_pretrained(MINI_LLAVA, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    tokenizer = AutoTokenizer.from_pretrained(MINI_LLAVA)
    assert len(tokenizer) == model.config.text_config.vocab_size
    pixels = CLIPImageProcessor.from_pretrained(MINI_LLAVA)(pictures(1)[0][0], return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 112, 112)
    text = f"USER: {'<image>' * model.config.image_seq_length}\nWrite a detailed description of the image. ASSISTANT:"
    ids = tokenizer(text, return_tensors="pt").input_ids
    model = model.float().eval()
    with torch.inference_mode():
        output = model.generate(input_ids=ids, pixel_values=pixels.float(), max_new_tokens=8, do_sample=False)
    said = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert said.split()[0] in {"The", "In"}  # how every caption of this world begins


def test_captioning_asks_as_pretraining_did() -> None:
    """The same ids before the answer, or the model is asked in a language that it did not learn."""
    from transformers import AutoTokenizer

    model = load_model("llava", MINI_LLAVA, device="cpu")
    encoder = TextEncoder(AutoTokenizer.from_pretrained(MINI_LLAVA))
    for instruction in (prompts.TRAIN, prompts.CAPTION_EVAL):
        asked = model.encode_prompt(model.format_prompt(instruction))
        assert [*asked.before, *[259] * IMAGE_TOKENS, *asked.after] == encoder.prompt(instruction)


@pytest.fixture(scope="module")
def scorer() -> tuple[Any, Any, Any]:
    """mini-clip by open_clip's own functions: model, preprocessing, tokenizer."""
    import open_clip

    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{MINI_CLIP}")
    return model.float().eval(), prepare, open_clip.get_tokenizer(f"local-dir:{MINI_CLIP}")


def test_mini_clip_is_a_plain_open_clip_model_that_sees_imperfectly(scorer: tuple[Any, Any, Any]) -> None:
    """Present objects score above typical absent ones in most pairs, and not in all."""
    model, prepare, tokenize = scorer
    images = torch.stack([prepare(picture) for picture, _ in pictures(60)])
    names = sorted(BY_NAME)
    with torch.inference_mode():
        texts = model.encode_text(tokenize([f"A photo containing {name}." for name in names]), normalize=True)
        scores = (model.encode_image(images, normalize=True) @ texts.T).numpy()  # [images, names]
    present = np.array([[name in seen for name in names] for _, seen in pictures(60)])
    wins = scores[present][:, None] > scores[~present][None, :]
    assert 0.8 < wins.mean() < 0.99


def test_open_clip_reads_the_size_of_the_world(scorer: tuple[Any, Any, Any]) -> None:
    model, prepare, tokenize = scorer
    assert prepare(pictures(1)[0][0]).shape == (3, 112, 112)
    ids = tokenize(["A photo containing dog.", "a photo containing DOG."])
    assert torch.equal(ids[0], ids[1]) and ids.shape == (2, model.context_length)
