"""LLaVA and ShareGPT4V as a folder that transformers and vLLM read, from a base in either layout.

Tensors have the names of the published `llava-hf` folders, which every version of both reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.files.storage import read_json, write_json, write_text
from common.models.base import CaptionModel
from common.models.families.llava import HF_LAYOUT, Llava
from common.models.text.tokenizers import FastTokenizer, SentencePieceTokenizer
from deploy.exports.chat_template import chat_template
from deploy.exports.fast_tokenizer import convert
from deploy.exports.tensor_shards import write_shards

IMAGE_TOKEN = "<image>"
# What a library notes of the way it loaded a tokenizer; nothing of the tokenizer itself.
LOADING_NOTES = ("is_local", "local_files_only", "name_or_path", "backend", "tokenizer_file", "vocab_file")


def write_llava(model: Llava, source: Path, folder: Path) -> None:
    """Write config, processor, tokenizer, generation settings and tensors into `folder`."""
    if isinstance(model.tokenizer, FastTokenizer):
        tokenizer = model.tokenizer.model
        config = read_json(source / "config.json")
        tensors: Iterator[tuple[str, Tensor]] = iter(model.named_parameters())
    else:
        assert isinstance(model.tokenizer, SentencePieceTokenizer)
        tokenizer = convert(model.tokenizer, [IMAGE_TOKEN])
        config = _new_config(model, image_id=model.lm.config.vocab_size)
        tensors = _with_image_row(model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    config["architectures"] = ["LlavaForConditionalGeneration"]
    config.pop("torch_dtype", None)
    config["dtype"] = str(model.compute_dtype).removeprefix("torch.")
    write_json(folder / "config.json", config)
    _write_generation_config(model, tokenizer, folder)
    _write_processor(model, tokenizer, folder)
    write_shards(folder, HF_LAYOUT.to_files(tensors))


def _with_image_row(model: CaptionModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters with one more row for `<image>`: the mean of the others, which adds next to nothing to a softmax."""
    for name, parameter in model.named_parameters():
        if name in ("lm.model.embed_tokens.weight", "lm.lm_head.weight"):
            mean = parameter.float().mean(0, keepdim=True).to(parameter.dtype)
            yield name, torch.cat([parameter, mean])
        else:
            yield name, parameter


def _new_config(model: Llava, image_id: int) -> dict[str, Any]:
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
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return values


def _write_generation_config(model: Llava, tokenizer: Any, folder: Path) -> None:
    """Greedy, as captions are judged; whatever sampling the base's decoder came with is left out."""
    ends = sorted(model.stop_ids)
    values = {
        "bos_token_id": model.tokenizer.bos_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "pad_token_id": tokenizer.pad_token_id,
        "do_sample": False,
    }
    write_json(folder / "generation_config.json", values)


def _write_processor(model: Llava, tokenizer: Any, folder: Path) -> None:
    """Images, tokenizer and template, each where today's and yesterday's versions of the libraries look for it."""
    from transformers import LlavaProcessor

    vision: Any = model.vision
    images = _image_processor(model)
    tokenizer.padding_side = "left"
    tokenizer.chat_template = chat_template()
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=vision.config.patch_size,
        vision_feature_select_strategy="full" if model.keep_class_token else "default",
        num_additional_image_tokens=1,
        image_token=IMAGE_TOKEN,
        chat_template=chat_template(),
    )
    processor.save_pretrained(folder)
    images.save_pretrained(folder)
    write_text(folder / "chat_template.jinja", chat_template())
    path = folder / "tokenizer_config.json"
    values = {key: value for key, value in read_json(path).items() if key not in LOADING_NOTES}
    write_json(path, values | {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": chat_template()})


def _image_processor(model: Llava) -> Any:
    """Of CLIP, or, where images are pasted on a square first, of LLaVA. Computing with Pillow, as here."""
    from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil

    look = model.preprocessing
    padding = {"do_pad": True} if look.fit == "pad" else {}
    kind = LlavaImageProcessorPil if padding else CLIPImageProcessorPil
    return kind(
        size={"shortest_edge": look.size},
        crop_size={"height": look.crop, "width": look.crop},
        image_mean=list(look.mean),
        image_std=list(look.std),
        resample=look.resample,
        **padding,
    )
