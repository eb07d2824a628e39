"""What a merged model is written as: transformers' layout for llava and share4v, the published one for the others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import CheckpointError
from common.models.base import CaptionModel
from common.models.checkpoints.key_maps import KeyMap
from common.models.families.auto import Auto
from common.models.families.llava import Llava
from common.models.families.minigpt import PROJECTION, MiniGpt
from common.models.families.owl import Owl
from common.models.parts.eva import LN_VISION, eva_layout
from common.models.parts.llama import LLAMA
from common.models.parts.qformer import QFORMER
from common.paths import display
from deploy.exports.llava_folder import write_llava
from deploy.exports.tensor_shards import write_shards

# Everything of a folder that is not weights: configs, tokenizer, generation settings.
SMALL_FILES = (".json", ".model", ".txt", ".jinja")


def write_model(model: CaptionModel, folder: Path) -> None:
    """Write the whole model into `folder`. Raises CheckpointError for a family that has no export."""
    if isinstance(model, Auto):
        model.lm.save_pretrained(folder)
        model.processor.save_pretrained(folder)
    elif isinstance(model, Owl):
        _copy_small_files(_source(model), folder)
        write_shards(folder, model.layout.to_files(model.named_parameters()))
    elif isinstance(model, MiniGpt):
        _write_minigpt(model, folder)
    elif isinstance(model, Llava):
        write_llava(model, _source(model), folder)
    else:
        raise CheckpointError(f"no export is known for {model.name}; add one in {display(Path(__file__))}")


def _source(model: CaptionModel) -> Path:
    if model.source is None:
        raise CheckpointError(f"this {model.name} was not loaded from files, so there is nothing to export beside it")
    return model.source


def _copy_small_files(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.suffix in SMALL_FILES and not path.name.endswith(".index.json"):
            shutil.copy(path, folder / path.name)


def _write_minigpt(model: MiniGpt, folder: Path) -> None:
    """The separate files under their published names; MiniGPT-4's own code reads `.pth`, so that is what they are."""
    vision: Any = model.vision
    llama = folder / ("Llama-2-7b-chat-hf" if vision.qformer is None else "vicuna-7b")
    llama.mkdir()
    _copy_small_files(model.decoder_source, llama)
    write_shards(llama, _part(model, LLAMA.prefixed(module="lm."), "lm."))
    projection = "pretrained_minigpt4_llama2_7b.pth" if vision.qformer is None else "pretrained_minigpt4_7b.pth"
    _save(folder / projection, _part(model, PROJECTION, "connector."), wrapped=True)
    _save(
        folder / "eva_vit_g.pth", _part(model, eva_layout(vision.sizes).prefixed(module="vision.vit."), "vision.vit.")
    )
    if vision.qformer is not None:
        bridge = QFORMER.prefixed(module="vision.") + LN_VISION.prefixed(module="vision.vit.")
        starts = ("vision.qformer.", "vision.query_tokens", "vision.vit.post_layernorm.")
        _save(folder / "blip2_pretrained_flant5xxl.pth", _part(model, bridge, starts), wrapped=True)


def _part(model: CaptionModel, layout: KeyMap, starts: str | tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one file. The encoder's last norm belongs to the Q-Former's file or to none."""
    norm = "vision.vit.post_layernorm."
    own = (
        (name, parameter.detach())
        for name, parameter in model.named_parameters()
        if name.startswith(starts) and (not name.startswith(norm) or norm in starts)
    )
    return layout.to_files(own)


def _save(path: Path, tensors: Iterator[tuple[str, Tensor]], wrapped: bool = False) -> None:
    state = {name: tensor.cpu().clone() for name, tensor in tensors}
    with path.open("wb") as file:  # whose own error is behind torch's where the disk is full
        torch.save({"model": state} if wrapped else state, file)
