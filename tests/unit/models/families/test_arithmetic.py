"""Features and losses against a second, plainly written float64 computation from the raw tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sentencepiece
import torch
from PIL import Image

from tests.unit.models.conftest import FAMILIES, Tiny
from tests.unit.models.plain_math import FEATURES, mean_loss

LLAVA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: ",
    "\nPlease describe the image. ASSISTANT:",
)
OWL = (
    "The following is a conversation between a curious human and AI assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions.",
    "\nHuman: ",
    "\nHuman: ",
    "Please describe the image.\n",
    "AI: ",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_agree_with_plain_arithmetic(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    source = tiny(name)
    model = source.load(dtype=torch.float64)
    pixels = model.preprocess(images)
    found = model.image_features(pixels)
    for image, features in zip(pixels, found, strict=True):
        torch.testing.assert_close(features, FEATURES[name](source.state, image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_float32_features_are_within_the_published_tolerance(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    model = tiny(name).load()
    pixels = model.preprocess(images)
    expected = torch.stack([FEATURES[name](tiny(name).state, image) for image in pixels])
    torch.testing.assert_close(model.image_features(pixels).double(), expected, rtol=0, atol=1e-4)


def published_ids(name: str, model: Any, target: str, eos: bool) -> tuple[list[int], list[int], list[int]]:
    """Segments as the format pages list them, with the bare sentencepiece package."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model.tokenizer.path)).encode
    end = [2] * eos
    if name in ("llava", "share4v"):
        return [1, *pieces(LLAVA[0])], pieces(LLAVA[1]), pieces(target) + end
    if name == "owl":
        before = [1, *pieces(OWL[0]), *pieces(OWL[1])]
        return before, [i for piece in OWL[2:] for i in pieces(piece)], pieces(target) + end
    return [1, *pieces("[INST] <Img>")], pieces("</Img> Please describe the image. [/INST]"), pieces(target) + end


@pytest.mark.parametrize("name", FAMILIES)
def test_sample_losses_agree_with_plain_arithmetic(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    source = tiny(name)
    model = source.load()
    targets, eos = ["a dog, and a red bench", " and a cat.", "é"], [True, False, True]
    found = model.sample_losses(images, [model.format_prompt("Please describe the image.")] * 3, targets, eos)
    prefix, eps = ("language_model.", 1e-6) if name == "owl" else ("", 1e-5)
    for i, pixels in enumerate(model.preprocess(images)):
        before, after, target = published_ids(name, model, targets[i], eos[i])
        expected = mean_loss(source.state, before, FEATURES[name](source.state, pixels), after, target, eps, prefix)
        assert found[i].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_a_batch_do_not_see_each_other(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    model = tiny(name).load()
    texts = [model.format_prompt(text) for text in ("Please describe the image.", "Describe", "a red bench, a dog?")]
    targets, eos = ["a dog", " and a cat, and a bench", "a"], [True, False, False]
    together = model.sample_losses(images, texts, targets, eos)
    alone = [model.sample_losses([i], [x], [t], [e])[0] for i, x, t, e in zip(images, texts, targets, eos, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_are_differentiable_in_the_connector(
    name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    model = tiny(name).load(dtype=torch.float64)
    chosen = model.set_trainable("connector", torch.float64)

    def loss() -> torch.Tensor:
        text = model.format_prompt("Describe")
        return model.sample_losses(images[:1], [text], ["a red dog"], [True]).sum()  # type: ignore[no-any-return]

    loss().backward()
    for parameter in chosen.values():
        assert parameter.grad is not None
        at = parameter.grad.abs().flatten().argmax()
        slope, step = parameter.grad.flatten()[at].item(), 1e-3
        with torch.no_grad():
            parameter.flatten()[at] += step
            above = loss().item()
            parameter.flatten()[at] -= 2 * step
            below = loss().item()
            parameter.flatten()[at] += step
        # The decoder's norms compute in float32 whatever the model's dtype is; key biases have slope zero.
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-2, abs=1e-3)
