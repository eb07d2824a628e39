"""Each published model at full size with random weights on one GPU: a training step, a caption, under 80 GB."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.bench.bench_models import BenchArguments, measure
from tests.bench.models.random_models import NAMES, random_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZES = {"llava": 7.06e9, "share4v": 7.06e9, "owl": 7.12e9, "minigpt": 7.75e9}
IMAGE_TOKENS = {"llava": 576, "share4v": 576, "owl": 65, "minigpt": 64}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_and_a_caption_fit(name: str) -> None:
    row = measure(name, BenchArguments(new_tokens=16), torch.device("cuda"))
    assert row["parameters"] == pytest.approx(SIZES[name], rel=0.02)
    assert row["image_tokens"] == IMAGE_TOKENS[name] and row["tokens"] == 16
    assert row["parameters"] * 2 / 2**30 < row["step_gib"] < 80e9 / 2**30
    torch.cuda.empty_cache()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_gradients_are_near_float32(name: str) -> None:
    """Relative error of the connector's gradient, on tiny models."""
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model(name, torch.device("cuda"), torch.float32, "tiny")
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        chosen = model.set_trainable("connector")
        image = Image.new("RGB", (64, 48), (9, 99, 50))
        text = model.format_prompt("Please describe the image.")
        model.sample_losses([image], [text], ["a dog on a red bench"], [True]).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in chosen.values() if p.grad is not None]).double())
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert error < 0.05


def test_loading_at_full_size_peaks_below_1_15(tmp_path: Path) -> None:
    from tests.bench.bench_loading import LoadingArguments, measure_loading

    row = measure_loading(LoadingArguments(fraction=1, device="cuda", folder=str(tmp_path)))
    assert row["gpu_ratio"] < 1.15 and row["cpu_peak_gib"] < 0.15 * row["size_gib"]
