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
from common.models.families.llava import HF_LAYOUT, Llava
from common.models.families.minigpt import PROJECTION, MiniGpt
from common.models.families.owl import Owl
from common.models.parts.eva import LN_VISION, eva_layout
from common.models.parts.llama import LLAMA
from common.models.parts.qformer import QFORMER
from common.models.text.tokenizers import FastTokenizer, SentencePieceTokenizer
from common.paths import display
from deploy.fast_tokenizer import convert
from deploy.tensor_shards import write_shards

IMAGE_TOKEN = "<image>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Everything of a folder that is not weights: configs, tokenizer, generation settings.
SMALL_FILES = (".json", ".model", ".txt", ".jinja", ".md")


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
        _write_llava(model, folder)
    else:
        raise CheckpointError(f"no export is known for {model.name}; add one in {display(Path(__file__))}")


def merge_adapters(model: CaptionModel) -> int:
    """Add low-rank adapters to the weights that they adapt, and take them out. Returns how many there were."""
    layers = [(path, layer) for path, layer in model.named_modules() if hasattr(layer, "get_base_layer")]
    for path, layer in layers:
        merging: Any = layer
        merging.merge()
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, merging.get_base_layer())
    return len(layers)


def _source(model: CaptionModel) -> Path:
    if model.source is None:
        raise CheckpointError(f"this {model.name} was not loaded from files, so there is nothing to export beside it")
    return model.source


def _copy_small_files(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.suffix in SMALL_FILES and not path.name.endswith(".index.json"):
            shutil.copy(path, folder / path.name)


def _write_llava(model: Llava, folder: Path) -> None:
    source = _source(model)
    if isinstance(model.tokenizer, FastTokenizer):
        _copy_small_files(source, folder)
        write_shards(folder, model.layout.to_files(model.named_parameters()))
        return
    assert isinstance(model.tokenizer, SentencePieceTokenizer)
    rows = model.lm.config.vocab_size
    _write_llava_config(model, folder, image_id=rows)
    _write_llava_processor(model, folder)
    write_shards(folder, HF_LAYOUT.to_files(_with_image_row(model)))


def _with_image_row(model: CaptionModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters with one more row for `<image>`: the mean of the others, which adds next to nothing to a softmax."""
    for name, parameter in model.named_parameters():
        if name in ("lm.model.embed_tokens.weight", "lm.lm_head.weight"):
            mean = parameter.float().mean(0, keepdim=True).to(parameter.dtype)
            yield name, torch.cat([parameter, mean])
        else:
            yield name, parameter


def _write_llava_config(model: Llava, folder: Path, image_id: int) -> None:
    from transformers import LlavaConfig

    vision: Any = model.vision
    text = {**model.lm.config.to_dict(), "vocab_size": image_id + 1, "bos_token_id": 1, "eos_token_id": model.eos_id}
    grid = vision.config.image_size // vision.config.patch_size
    config = LlavaConfig(
        vision_config=vision.config.to_dict(),
        text_config=text,
        image_token_index=image_id,
        vision_feature_layer=model.selected_layers[0],
        vision_feature_select_strategy="full" if model.keep_class_token else "default",
        image_seq_length=grid * grid + int(model.keep_class_token),
        projector_hidden_act="gelu",
        tie_word_embeddings=model.lm.config.tie_word_embeddings,
    )
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = model.compute_dtype
    config.save_pretrained(folder)


def _write_llava_processor(model: Llava, folder: Path) -> None:
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    look, vision = model.preprocessing, model.vision
    images = CLIPImageProcessorPil(
        size={"shortest_edge": look.size},
        crop_size={"height": look.crop, "width": look.crop},
        image_mean=list(look.mean),
        image_std=list(look.std),
        resample=look.resample,
    )
    tokenizer: Any = model.tokenizer
    patch: Any = vision
    LlavaProcessor(
        images,
        convert(tokenizer, [IMAGE_TOKEN]),
        patch_size=patch.config.patch_size,
        vision_feature_select_strategy="full" if model.keep_class_token else "default",
        num_additional_image_tokens=1,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


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
    torch.save({"model": state} if wrapped else state, path)
