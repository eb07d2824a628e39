"""Who gets flash-attn, with a package and a GPU that are not there: the choice, and what is said of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from common.models.parts.flash_attention import NAME, use_flash_attention

GPU = torch.device("cuda")
SIZES: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


class Bridged(nn.Module):
    """A tower with a Q-Former behind it, which transformers does not run so."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=28, patch_size=14))
        self.qformer = Blip2QFormerModel(Blip2QFormerConfig(**SIZES, encoder_hidden_size=8))


@pytest.fixture
def parts() -> dict[str, Any]:
    """A tower and a decoder, as they are built."""
    return {"vision tower": Bridged(), "decoder": LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=9))}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is there, and transformers finds nothing wrong."""
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(__version__="2.8.3"))
    monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", lambda _self, wanted, **_: wanted)


def attention(part: Any) -> str:
    """What a model of transformers uses."""
    return str(part.config._attn_implementation)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_a_gpu_in_16_bits_everything_that_can_uses_it(
    dtype: torch.dtype, parts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert use_flash_attention(parts, GPU, dtype) == ("vision tower", "decoder")
    assert attention(parts["decoder"]) == attention(parts["vision tower"].vit) == NAME
    assert attention(parts["vision tower"].qformer) != NAME
    assert "flash-attn 2.8.3: the attention of the vision tower and the decoder" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", torch.bfloat16), ("cuda", torch.float32), ("cpu", torch.float32)]
)
def test_elsewhere_nothing_changes(device: str, dtype: torch.dtype, parts: dict[str, Any]) -> None:
    before = attention(parts["decoder"])
    assert use_flash_attention(parts, torch.device(device), dtype) == ()
    assert attention(parts["decoder"]) == before


def test_without_the_package_nothing_is_said(parts: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("flash_attn") is not None:
        pytest.skip("flash-attn is installed")
    assert use_flash_attention(parts, GPU, torch.bfloat16) == ()
    assert not capsys.readouterr().err


def test_a_package_that_does_not_load_is_said(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c105ErrorC2E\\nand more')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    assert use_flash_attention(parts, GPU, torch.bfloat16) == ()
    said = capsys.readouterr().err
    assert "does not load (undefined symbol: _ZN3c105ErrorC2E); PyTorch's own attention is used" in said


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("error", [ValueError("head size 300"), ImportError("too old"), RuntimeError("no kernel")])
def test_a_part_that_cannot_keeps_its_own_and_it_is_said(
    error: Exception, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, whole = attention(parts["decoder"]), LlamaForCausalLM.set_attn_implementation

    def refuse(self: Any, wanted: str) -> None:
        if wanted == NAME:
            raise error
        whole(self, wanted)

    monkeypatch.setattr(LlamaForCausalLM, "set_attn_implementation", refuse)
    assert use_flash_attention(parts, GPU, torch.bfloat16) == ("vision tower",)
    assert attention(parts["decoder"]) == before
    assert f"not the attention of the decoder ({error})" in capsys.readouterr().err
