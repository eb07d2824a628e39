"""Tiny random checkpoints of families that transformers loads itself: Qwen2.5-VL, InternVL, SmolVLM's Idefics3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "qwen2_5_vl": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "internvl": ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
    "idefics3": ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"],
}
IMAGE = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "internvl": "<IMG_CONTEXT>",
    "idefics3": "<image>",
}
TEMPLATE = (
    "{{% for m in messages %}}<s>{{{{ m['role'] }}}}\n{{% for c in m['content'] %}}"
    "{{% if c['type'] == 'image' %}}{image}{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}</s>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<s>assistant\n{{% endif %}}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


def auto_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the family's special tokens."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", *SPECIAL[family]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(
        ["a dog"], trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    named: dict[str, Any] = {}
    if family == "internvl":
        named = {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        extra_special_tokens=named,
    )


def write_auto(folder: Path, family: str) -> None:
    """Save model and processor of one family into a folder."""
    tokenizer = auto_tokenizer(family)
    model, processor = {"qwen2_5_vl": _qwen, "internvl": _internvl, "idefics3": _idefics}[family](tokenizer)
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.15)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _qwen(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 4,
        "intermediate_size": 48,
        "out_hidden_size": 32,
        "patch_size": 14,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    ids = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    sizes = {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 6}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=sizes),
        tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE.format(image=IMAGE["qwen2_5_vl"]),
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _internvl(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": [28, 28],
        "patch_size": [14, 14],
    }
    config = InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size={"height": 28, "width": 28}, max_patches=2),
        tokenizer,
        InternVLVideoProcessor(size={"height": 28, "width": 28}),
        image_seq_length=1,
        chat_template=TEMPLATE.format(image=IMAGE["internvl"]),
    )
    return InternVLForConditionalGeneration(config), processor


def _idefics(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
    }
    config = Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE.format(image=IMAGE["idefics3"]),
    )
    return Idefics3ForConditionalGeneration(config), processor
