"""Random packs, and what their losses and gradients must be: those of one row a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from common.models.packed.layout import PackedImage, PackLayout, lay_out
from common.models.text.ids import PromptIds

IMAGES = 3  # in the features that packs look at
HIDDEN = 7  # an id that tests hide from attention

ids = st.integers(3, 5) | st.integers(3, 300)  # often the same, so that branches begin alike
befores = st.sampled_from([(1,), (1, 40, HIDDEN, 41), (1, 9)])
afters = st.sampled_from([(), (50,), (51, HIDDEN, 52)])
prompts = st.builds(PromptIds, befores, afters)
branches = st.lists(st.lists(ids, min_size=1, max_size=6).map(tuple), min_size=1, max_size=4).map(tuple)
packed_images = st.lists(st.builds(PackedImage, st.integers(0, IMAGES - 1), prompts, branches), min_size=1, max_size=4)


def rows_of(images: Sequence[PackedImage]) -> tuple[list[int], list[PromptIds], list[tuple[int, ...]]]:
    """Feature, prompt and target of each branch, one row each."""
    rows = [(image.feature, image.prompt, branch) for image in images for branch in image.branches]
    return [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]


def seen_by(model: Any, images: Sequence[Any]) -> Tensor:
    """What the connector gets of the images."""
    with torch.no_grad():
        return model.see(model.preprocess(images).to(model.device, model.compute_dtype))


def row_losses(model: Any, seen: Tensor, images: Sequence[PackedImage]) -> Tensor:
    """The plain path."""
    feature, prompt, target = rows_of(images)
    return model.target_losses(model.connect(seen)[feature], prompt, target)


def pack_losses(model: Any, seen: Tensor, layout: PackLayout) -> Tensor:
    """The packed path."""
    return model.packed_losses(model.connect(seen), layout.to(seen.device))


def gradients(losses: Tensor, parameters: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Of a random mixture of the losses."""
    weights = torch.randn(losses.shape, generator=torch.Generator().manual_seed(seed)).to(losses)
    found = torch.autograd.grad((losses * weights).sum(), list(parameters.values()), allow_unused=True)
    return {name: grad for name, grad in zip(parameters, found, strict=True) if grad is not None}


def assert_equal(
    model: Any,
    seen: Tensor,
    images: Sequence[PackedImage],
    parameters: dict[str, Any],
    length: int | None = None,
    rtol: float = 1e-5,
) -> None:
    """The pack's table of losses and all gradients are those of its rows one by one."""
    layout = lay_out(images, model.connect(seen).shape[1], length)
    plain, packed = row_losses(model, seen, images), pack_losses(model, seen, layout)
    torch.testing.assert_close(packed, plain, rtol=rtol, atol=rtol / 10)
    expected, found = gradients(plain, parameters), gradients(packed, parameters)
    assert expected.keys() == found.keys() and expected
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        # Some gradients are zero but for rounding (the bias of attention keys), so the largest one counts, too.
        atol = rtol * (float(gradient.abs().max()) + largest / 10)
        torch.testing.assert_close(found[name], gradient, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def losses_of_steps(model: Any, chosen: Mapping[str, nn.Parameter], image: Image.Image) -> list[float]:
    """The loss before each of six steps on one caption."""
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-3)
    text = model.format_prompt("Describe")
    losses = []
    for _ in range(6):
        loss = model.sample_losses([image], [text], ["a dog and a cat."], [True]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses
