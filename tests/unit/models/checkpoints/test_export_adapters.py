"""Low-rank adapters as PEFT loads them, and MiniGPT-4 from every documented input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from common.args import ModelArguments
from common.errors import CheckpointError
from common.models import load_model
from common.models.body import LoraSettings
from common.models.weights.selection import add_lora
from deploy.export import ExportArguments, export
from tests.unit.models.conftest import Tiny
from tests.unit.models.checkpoints.test_export import arguments, sample
from tests.unit.models.tiny_auto import write_auto


def moved(model: Any, selection: str, folder: Path) -> Any:
    """The model after a training that moved everything that it trained, and that saved into `folder`."""
    add_lora(model, LoraSettings(rank=3, alpha=6, targets=("q_proj", "down_proj"), dropout=0.1))
    chosen = model.set_trainable(selection)
    noise = torch.Generator().manual_seed(1)
    for parameter in chosen.values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=noise)
    model.save_trained(folder, list(chosen))
    return model


def logits(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Of all positions."""
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("selection", ["lora", "connector+lora"])
@pytest.mark.parametrize("name", ["llava", "share4v"])
def test_peft_loads_the_adapter_over_the_exported_base(
    name: str, selection: str, tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]
) -> None:
    """The merged export is the reference: transformers alone reads it."""
    from peft import PeftModel
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    ours = moved(tiny(name).load(), selection, tmp_path / "trained")
    merged = export(arguments(tiny(name), tmp_path / "trained"), ExportArguments(str(tmp_path / "merged")))
    base = export(arguments(tiny(name), None), ExportArguments(str(tmp_path / "base")))
    inputs = AutoProcessor.from_pretrained(base)(
        text=[ours.format_prompt("Describe") + " a red dog"], images=[images[0]], return_tensors="pt"
    )
    whole = LlavaForConditionalGeneration.from_pretrained(merged).eval()
    plain = LlavaForConditionalGeneration.from_pretrained(base).eval()
    assert (logits(plain, inputs) - logits(whole, inputs)).abs().max() > 1e-3
    laid = PeftModel.from_pretrained(plain, merged / "adapter").eval()
    torch.testing.assert_close(logits(laid, inputs), logits(whole, inputs), rtol=1e-4, atol=1e-4)
    only = export(arguments(tiny(name), tmp_path / "trained"), ExportArguments(str(tmp_path / "a"), adapter_only=True))
    assert {path.name for path in only.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    for path in (merged / "adapter").iterdir():
        assert path.read_bytes() == (only / path.name).read_bytes()


def test_peft_loads_an_auto_adapter(tmp_path: Path, images: list[Image.Image]) -> None:
    from peft import PeftModel

    write_auto(tmp_path / "base", "idefics3")
    ours = moved(load_model("auto", tmp_path / "base"), "connector+lora", tmp_path / "trained")
    args = ModelArguments(
        model="auto", auto_path=str(tmp_path / "base"), ckpt_load_path=str(tmp_path / "trained"), device="cpu"
    )
    out = export(args, ExportArguments(str(tmp_path / "a"), adapter_only=True))
    again = load_model("auto", tmp_path / "base")
    again.lm = PeftModel.from_pretrained(again.lm, out).eval().base_model.model
    torch.testing.assert_close(sample(again, images), sample(ours, images), rtol=1e-5, atol=1e-5)


def test_peft_loads_an_adapter_of_minigpts_decoder(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    from deploy.exports.peft_adapter import adapter_of

    model = moved(tiny("minigpt").load(), "lora", tmp_path / "trained")
    adapter_of(model, [name for name, p in model.named_parameters() if p.requires_grad], None).write(tmp_path / "a")
    plain = LlamaForCausalLM.from_pretrained(model.decoder_source, dtype=torch.float32)
    laid = PeftModel.from_pretrained(plain, tmp_path / "a").eval()
    ids = {"input_ids": torch.tensor([[1, 40, 50, 60]])}
    torch.testing.assert_close(logits(laid, ids), logits(model.lm, ids), rtol=1e-5, atol=1e-5)


def test_what_no_adapter_can_hold_is_refused_or_merged_only(
    tiny: Callable[[str], Tiny], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved(tiny("owl").load(), "lora", tmp_path / "owl")
    with pytest.raises(CheckpointError, match="no owl to lay an adapter over"):
        export(arguments(tiny("owl"), tmp_path / "owl"), ExportArguments(str(tmp_path / "a"), adapter_only=True))
    out = export(arguments(tiny("owl"), tmp_path / "owl"), ExportArguments(str(tmp_path / "m")))
    assert not (out / "adapter").exists() and "merged only: transformers has no owl" in capsys.readouterr().err
    moved(tiny("llava").load(), "lm_head+lora", tmp_path / "head")
    with pytest.raises(CheckpointError, match=r"lm\.lm_head\.weight was trained too"):
        export(arguments(tiny("llava"), tmp_path / "head"), ExportArguments(str(tmp_path / "a"), adapter_only=True))
    with pytest.raises(CheckpointError, match="trained no low-rank adapters"):
        export(arguments(tiny("llava"), None), ExportArguments(str(tmp_path / "a"), adapter_only=True))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("way", ["folder", "files", "yaml"])
def test_minigpt_is_exported_from_every_documented_input(
    way: str, tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny("minigpt")
    llama, (projection,) = source.path / "Llama-2-7b-chat-hf", source.path.glob("pr*minigpt4*.pth")
    config = tmp_path / "eval.yaml"
    config.write_text(yaml.safe_dump({"model": {"llama_model": str(llama), "ckpt": str(projection)}}))
    flags: dict[str, dict[str, str]] = {
        "folder": {"minigpt_path": str(source.path)},
        "files": {
            "minigpt_path": str(projection),
            "minigpt_vit_path": str(source.path / "eva_vit_g.pth"),
            "minigpt_llama_path": str(llama),
        },
        "yaml": {"minigpt_train_cfg": str(config)},
    }
    from common.models import registry

    plain = registry.settings_from_args  # the tiny encoder's heads have no flag
    monkeypatch.setattr(registry, "settings_from_args", lambda args: plain(args) | source.settings)
    monkeypatch.chdir(tmp_path)
    args = ModelArguments(model="minigpt", device="cpu", **flags[way])
    out = export(args, ExportArguments(str(tmp_path / "out")))
    again = load_model("minigpt", out, **source.settings)
    torch.testing.assert_close(sample(again, images), sample(source.load(), images), rtol=1e-6, atol=0)
