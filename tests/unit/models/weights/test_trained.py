"""Choosing, mastering, saving and loading of trained tensors, in our form and the published one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common.errors import ArgumentError, CheckpointError
from common.models import load_model
from common.models.body import LoraSettings
from common.models.weights.selection import add_lora
from tests.unit.models.conftest import FAMILIES, Tiny

CONNECTORS = {
    "llava": {"connector.0.weight", "connector.0.bias", "connector.2.weight", "connector.2.bias"},
    "share4v": {"connector.0.weight", "connector.0.bias", "connector.2.weight", "connector.2.bias"},
    "minigpt": {"connector.weight", "connector.bias"},
    "minigpt_v1": {"connector.weight", "connector.bias"},
}
# Names as the published trainer saves them, buffers included.
PUBLISHED = {
    "llava": ("model.mm_projector.", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    "share4v": ("model.mm_projector.", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    "owl": ("abstractor.", "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"),
    "minigpt": ("llama_proj.", "llama_model.model.layers.0.self_attn.rotary_emb.inv_freq"),
    "minigpt_v1": ("llama_proj.", "Qformer.bert.embeddings.position_ids"),
}


def published_state(name: str, tiny: Callable[[str], Tiny]) -> dict[str, torch.Tensor]:
    """A published step file: the trained tensors moved a little, in bfloat16, and a stray buffer."""
    start, stray = PUBLISHED[name]
    state = {
        key: (tensor + 0.05).bfloat16()
        for key, tensor in tiny(name).state.items()
        if key.startswith(start) or (name == "owl" and key == "query_tokens")
    }
    return state | {stray: torch.ones(4)}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_connector_is_what_is_published_as_trainable(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    assert not any(p.requires_grad for p in model.parameters())
    chosen = model.trainable_parameters("connector")
    assert all(p.requires_grad == (key in chosen) for key, p in model.named_parameters())
    if name == "owl":
        parts = {key.removeprefix("abstractor.") for key in tiny(name).state if key.startswith("abstractor.")}
        assert {key.removeprefix("connector.") for key in chosen} == parts | {"query_tokens"}
    else:
        assert chosen.keys() == CONNECTORS[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_selections_nest_and_join(name: str, tiny: Callable[[str], Tiny]) -> None:
    model = tiny(name).load()
    parts = {part: set(model.trainable_parameters(part)) for part in ("connector", "lm_head", "decoder", "all")}
    assert parts["lm_head"] == {"lm.lm_head.weight"} < parts["decoder"] < parts["all"]
    assert parts["all"] == {key for key, _ in model.named_parameters()}
    assert set(model.trainable_parameters("connector+lm_head")) == parts["connector"] | parts["lm_head"]
    upper = [set(model.trainable_parameters(f"decoder:{block}")) for block in (0, 1)]
    assert parts["decoder"] - upper[0] == {"lm.model.embed_tokens.weight"} and "lm.lm_head.weight" in upper[1]
    assert upper[0] - upper[1] == {key for key in parts["decoder"] if ".layers.0." in key}
    with pytest.raises(ArgumentError, match=r"decoder:99: the decoder of \w+ has blocks 0 to 1"):
        model.trainable_parameters("decoder:99")
    adapters = set(model.trainable_parameters("lora"))
    assert len(adapters) == 2 * 7 * 2 and all(".lora_" in key for key in adapters)
    assert not set(model.trainable_parameters("decoder")) & adapters
    with pytest.raises(ArgumentError, match=r"unknown part 'conector'.*did you mean connector"):
        model.trainable_parameters("conector")


@pytest.mark.parametrize("selection", ["connector", "lm_head", "lora", "decoder", "connector+lora", "all"])
@pytest.mark.parametrize("name", ["llava", "owl", "minigpt_v1"])
def test_t3_masters_are_float32_over_a_bfloat16_rest(
    name: str, selection: str, tiny: Callable[[str], Tiny], images: list[Image.Image]
) -> None:
    """A step of 1e-5 must change almost every trained weight, which it cannot in bfloat16."""
    model = tiny(name).load(dtype=torch.bfloat16)
    plain = tiny(name).load()
    chosen = model.set_trainable(selection)
    assert {p.dtype for p in chosen.values()} == {torch.float32}
    assert {p.dtype for key, p in model.named_parameters() if key not in chosen} <= {torch.bfloat16}
    assert all(p.requires_grad == (key in chosen) for key, p in model.named_parameters())
    texts = [model.format_prompt("Describe")] * 2
    before = {key: p.detach().clone() for key, p in chosen.items()}
    losses = model.sample_losses(images[:2], texts, ["a dog", "a red cat"], [True, False])
    expected = plain.sample_losses(images[:2], texts, ["a dog", "a red cat"], [True, False])
    torch.testing.assert_close(losses, expected, rtol=0.05, atol=0.05)
    torch.optim.SGD(chosen.values(), lr=1e-5)  # accepts all of them
    losses.sum().backward()
    reached = {key: p for key, p in chosen.items() if p.grad is not None and p.grad.abs().max() > 0}
    assert len(reached) > len(chosen) / 3
    for key, parameter in reached.items():
        assert parameter.grad is not None
        parameter.data -= 1e-5 * parameter.grad.sign()
        moved = (parameter.data != before[key]) | (parameter.grad == 0)
        assert moved.float().mean() > 0.99, key
    assert model.generate_ids(images[:1], texts[:1], max_new_tokens=2)


def test_choosing_again_puts_the_former_choice_back(tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    model = tiny("llava").load(dtype=torch.bfloat16)
    model.set_trainable("decoder")
    model.set_trainable("connector")
    assert {p.dtype for key, p in model.named_parameters() if key.startswith("lm.")} == {torch.bfloat16}
    assert not model.cast_hooks and model.compute_dtype == torch.bfloat16
    fresh = tiny("llava").load(dtype=torch.bfloat16)
    fresh.set_trainable("connector")
    sample = (images[:1], [model.format_prompt("Describe")], ["a dog"], [True])
    assert torch.equal(model.sample_losses(*sample), fresh.sample_losses(*sample))


@pytest.mark.parametrize("name", FAMILIES)
def test_training_mode_changes_nothing(name: str, tiny: Callable[[str], Tiny], images: list[Image.Image]) -> None:
    """Neither Q-Former nor abstractor may drop anything, whatever a training framework calls."""
    model = tiny(name).load()
    sample = (images[:1], [model.format_prompt("Describe")], ["a dog"], [True])
    before = model.sample_losses(*sample)
    model.train()
    assert torch.equal(model.sample_losses(*sample), before)
    assert not any(module.training for module in model.vision.modules())


@pytest.mark.parametrize("selection", ["connector", "lora", "connector+lora", "decoder"])
@pytest.mark.parametrize("name", FAMILIES)
def test_ours_saves_and_loads(
    name: str, selection: str, tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]
) -> None:
    model = tiny(name).load()
    chosen = model.set_trainable(selection)
    for parameter in chosen.values():
        parameter.data += 0.02
    model.save_trained(tmp_path, list(chosen))
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 1, "the weights are as readable as the card beside them"
    again = tiny(name).load()
    report = again.load_trained(tmp_path)
    assert set(report.loaded) == set(chosen) and report.values == sum(p.numel() for p in chosen.values())
    sample = (images[:1], [model.format_prompt("Describe")], ["a dog"], [True])
    assert torch.equal(again.sample_losses(*sample), model.sample_losses(*sample))
    card = json.loads((tmp_path / "trained.json").read_text())
    assert card["model"] == model.name and card["selection"] == selection and len(card["base_hash"]) == 64


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_t1_a_published_step_is_loaded_and_reported(
    name: str, wrapped: bool, tiny: Callable[[str], Tiny], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = published_state(name, tiny)
    torch.save({"model": state} if wrapped else state, tmp_path / "step_000120.pth")
    base = tiny(name).load()
    model = tiny(name).load(ckpt=tmp_path / "step_000120.pth")
    assert f"loaded {len(state) - 1} tensors" in capsys.readouterr().err
    changed = {
        key
        for (key, old), (_, new) in zip(base.named_parameters(), model.named_parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert changed == set(base.trainable_parameters("connector"))
    back = dict(model.layout.to_files((key, p.detach()) for key, p in model.named_parameters()))
    for key, tensor in state.items():
        if key in back and tensor.dtype == torch.bfloat16:
            assert torch.equal(back[key], tensor.float())


def test_a_folder_of_steps_gives_the_highest(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    for step, shift in ((999999, 1.0), (1000001, 2.0), (20, 3.0)):
        state = {key: value + shift for key, value in published_state("llava", tiny).items()}
        torch.save(state, tmp_path / f"step_{step:06d}.pth")
    report = tiny("llava").load().load_trained(tmp_path)
    assert report.path.name == "step_1000001.pth" and len(report.ignored) == 1


def test_t1_an_empty_path_is_skipped_with_a_word(
    tiny: Callable[[str], Tiny], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny("llava").load(ckpt="")
    assert "base model is used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, "no tensor of llava"),
        (lambda s: s | {"llama_proj.weight": torch.ones(2)}, r"does not have, e.g. llama_proj.weight"),
        (lambda s: s | {"model.mm_projector.0.bias": torch.ones(2)}, r"has shape \[2\], this model wants \[48\]"),
    ],
)
def test_t20_a_checkpoint_that_does_not_fit_fails(
    change: Any, message: str, tiny: Callable[[str], Tiny], tmp_path: Path
) -> None:
    torch.save(change(published_state("llava", tiny)), tmp_path / "step_000001.pth")
    with pytest.raises(CheckpointError, match=message):
        tiny("llava").load(ckpt=tmp_path / "step_000001.pth")


def test_t20_a_path_without_a_checkpoint_fails(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no trained checkpoint"):
        tiny("llava").load(ckpt=tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"neither trained.safetensors nor a step_\*.pth"):
        tiny("llava").load(ckpt=tmp_path)


def test_a_checkpoint_of_another_model_names_both(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    model = tiny("owl").load()
    model.save_trained(tmp_path, list(model.trainable_parameters("connector")))
    with pytest.raises(CheckpointError, match="was trained on owl, not on llava"):
        tiny("llava").load(ckpt=tmp_path)
    with pytest.raises(CheckpointError, match="no such parameter"):
        model.save_trained(tmp_path, ["connector.nothing"])


def test_another_base_is_announced(
    tiny: Callable[[str], Tiny], tmp_path: Path, tokenizer_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.models.tiny_checkpoints import write_llava

    model = tiny("llava").load()
    model.save_trained(tmp_path / "t", list(model.trainable_parameters("connector")))
    write_llava(tmp_path / "other", tokenizer_file, form="bin")
    load_model("llava", tmp_path / "other", ckpt=tmp_path / "t")
    assert "trained over another base model" in capsys.readouterr().err


def test_adapters_are_of_the_asked_rank_scale_targets_and_dropout(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    settings = LoraSettings(rank=3, alpha=12, targets=("q_proj", "v_proj"), dropout=0.25)
    model = tiny("llava").load()
    add_lora(model, settings)
    chosen = model.set_trainable("lora")
    assert len(chosen) == 2 * 2 * 2 and all("q_proj" in key or "v_proj" in key for key in chosen)
    assert {p.shape[0] for key, p in chosen.items() if "lora_A" in key} == {3}
    layer = model.lm.model.layers[0].self_attn.q_proj
    assert not layer.lora_dropout["default"].training
    assert layer.scaling["default"] == 12 / 3 and layer.lora_dropout["default"].p == 0.25
    model.train()
    assert layer.lora_dropout["default"].training
    model.eval()
    assert not layer.lora_dropout["default"].training
    model.save_trained(tmp_path, list(chosen))
    again = tiny("llava").load()
    again.load_trained(tmp_path)
    assert again.lora == settings


def test_adapters_that_do_not_fit_are_refused(tiny: Callable[[str], Tiny]) -> None:
    model = tiny("llava").load()
    with pytest.raises(ArgumentError, match=r"--lora_targets q_prj names no linear layer.*did you mean q_proj"):
        add_lora(model, LoraSettings(targets=("q_prj",)))
    add_lora(model, LoraSettings(rank=4))
    add_lora(model)
    with pytest.raises(ArgumentError, match="adapters already"):
        add_lora(model, LoraSettings(rank=8))
    for wrong in ({"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(ArgumentError, match=f"--lora_{next(iter(wrong))}"):
            LoraSettings(**wrong)
