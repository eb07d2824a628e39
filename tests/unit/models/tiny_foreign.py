"""Tiny random models of transformers' families, and inputs as their processors would make them, without a processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

IMAGE, BEFORE, AFTER = 9, (1, 20, 21), (30, 31)
SECTIONS = [1, 1, 2]  # of a head's rotary positions: time, height, width
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "vocab_size": 64,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}
Made = tuple[Any, Callable[[int], dict[str, Tensor]]]


def tiny_foreign(family: str) -> Made:
    """A float32 model, and a function from a number to inputs of an image whose size depends on it."""
    torch.manual_seed(1)
    lm, inputs = MAKERS[family]()
    for parameter in lm.parameters():
        parameter.data.normal_(0, 0.15)
    return lm.eval(), inputs


def _ids(tokens: int, **more: Any) -> dict[str, Any]:
    ids = torch.tensor([[*BEFORE, *[IMAGE] * tokens, *AFTER]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


def _pixels(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _qwen(kind: str) -> Made:
    import transformers

    rope = {"rope_type": "default", "mrope_section": SECTIONS, "rope_theta": 10000.0}
    more: dict[str, Any]
    if kind == "Qwen3VL":
        more = {"num_heads": 4, "depth": 3, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    else:
        more = {"num_heads": 4, "depth": 2, "fullatt_block_indexes": [1], "window_size": 28, "embed_dim": 32}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": TEXT["hidden_size"],
        "patch_size": 7,
        **more,
    }
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=10,
        vision_start_token_id=BEFORE[-1],
    )

    def inputs(number: int) -> dict[str, Tensor]:
        height, width = ((4, 6), (2, 4), (4, 4))[number % 3]
        made = _ids(height * width // 4, image_grid_thw=torch.tensor([[1, height, width]]))
        made["mm_token_type_ids"] = (made["input_ids"] == IMAGE).int()
        made["pixel_values"] = _pixels(height * width, 3 * 2 * 49, seed=number)
        return made

    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), inputs


def _llava(text: Mapping[str, Any]) -> Made:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        text_config={**TEXT, **text},
        vision_config={**VISION, "model_type": "clip_vision_model"},
        image_token_index=IMAGE,
    )
    return LlavaForConditionalGeneration(config), lambda n: _ids(16, pixel_values=_pixels(1, 3, 28, 28, seed=n))


def _internvl() -> Made:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    vision = {**VISION, "image_size": [28, 28], "patch_size": [7, 7]}
    config = InternVLConfig(text_config={**TEXT, "model_type": "qwen2"}, vision_config=vision, image_token_id=IMAGE)

    def inputs(number: int) -> dict[str, Tensor]:
        tiles = 1 + number % 3
        return _ids(4 * tiles, pixel_values=_pixels(tiles, 3, 28, 28, seed=number))

    return InternVLForConditionalGeneration(config), inputs


def _idefics(kind: str) -> Made:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, "model_type": "llama"}, vision_config=VISION, image_token_id=IMAGE, scale_factor=2
    )

    def inputs(number: int) -> dict[str, Tensor]:
        tiles = 1 + number % 3
        return _ids(4 * tiles, pixel_values=_pixels(1, tiles, 3, 28, 28, seed=number))

    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), inputs


def _gemma() -> Made:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        **TEXT,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 8,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config={**VISION, "vision_use_head": False},
        image_token_index=IMAGE,
        mm_tokens_per_image=4,
    )

    def inputs(number: int) -> dict[str, Tensor]:
        made = _ids(4, pixel_values=_pixels(1, 3, 28, 28, seed=number))
        made["token_type_ids"] = (made["input_ids"] == IMAGE).long()
        return made

    return Gemma3ForConditionalGeneration(config), inputs


def _onevision() -> Made:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=IMAGE,
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
        vision_feature_layer=-1,
    )

    def inputs(number: int) -> dict[str, Tensor]:
        wide = number % 2
        size = torch.tensor([[28, 28 + 28 * wide]])
        tokens = 16 + (4 * 8 + 4 if wide else 4 * 4 + 4)  # the whole image, then tiles with a new line after each row
        pixels = _pixels(1, 2 + wide, 3, 28, 28, seed=number)
        return _ids(tokens, pixel_values=pixels, image_sizes=size)

    return LlavaOnevisionForConditionalGeneration(config), inputs


def _mistral() -> Made:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    config = Mistral3Config(
        text_config={**TEXT, "model_type": "mistral", "sliding_window": None},
        vision_config={**VISION, "model_type": "pixtral", "image_size": 56, "head_dim": 8},
        image_token_index=IMAGE,
        vision_feature_layer=-1,
    )

    def inputs(number: int) -> dict[str, Tensor]:
        height, width = ((28, 42), (14, 28), (28, 28))[number % 3]
        pixels = _pixels(1, 3, height, width, seed=number)
        return _ids(height * width // 14**2, pixel_values=pixels, image_sizes=torch.tensor([[height, width]]))

    return Mistral3ForConditionalGeneration(config), inputs


def _paligemma() -> Made:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        text_config={**TEXT, "model_type": "gemma"},
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=IMAGE,
        projection_dim=TEXT["hidden_size"],
    )

    def inputs(number: int) -> dict[str, Tensor]:
        ids = torch.tensor([[*[IMAGE] * 16, *BEFORE, *AFTER]])
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        return made | {"pixel_values": _pixels(1, 3, 28, 28, seed=number)}

    return PaliGemmaForConditionalGeneration(config), inputs


def _mllama() -> Made:
    """Its decoder looks at pictures beside the text; one tile or two of four."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    vision = {"intermediate_layers_indices": [0, 1], "vision_output_dim": 3 * 32, "num_global_layers": 1}
    config = MllamaConfig(
        text_config={**TEXT, "cross_attention_layers": [1]},
        vision_config={**VISION, **vision, "attention_heads": 4},
        image_token_index=IMAGE,
    )

    def inputs(number: int) -> dict[str, Tensor]:
        made = _ids(1)
        there = torch.tensor([[[1, number % 2, 0, 0]]])
        looks = (made["input_ids"] == IMAGE).cumsum(1)[..., None, None] * there[:, None]
        pixels = _pixels(1, 1, 4, 3, 28, 28, seed=number)
        ratio = torch.tensor([[1 + number % 2]])
        return made | {
            "pixel_values": pixels,
            "aspect_ratio_ids": ratio,
            "aspect_ratio_mask": there,
            "cross_attention_mask": looks,
        }

    return MllamaForConditionalGeneration(config), inputs


def _lfm() -> Made:
    """Half of its layers are convolutions over the text, which no mask keeps within a caption."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = {**TEXT, "model_type": "lfm2", "layer_types": ["conv", "full_attention", "conv"], "block_dim": 32}
    config = LlavaConfig(
        text_config=text, vision_config={**VISION, "model_type": "clip_vision_model"}, image_token_index=IMAGE
    )
    return LlavaForConditionalGeneration(config), lambda n: _ids(16, pixel_values=_pixels(1, 3, 28, 28, seed=n))


MAKERS: dict[str, Callable[[], Made]] = {
    "llava": lambda: _llava({"model_type": "llama"}),
    "llava_sliding": lambda: _llava({"model_type": "mistral", "sliding_window": 7}),
    "llava_cohere": lambda: _llava({"model_type": "cohere", "logit_scale": 0.25}),
    "llava_gemma2": lambda: _llava(
        {
            "model_type": "gemma2",
            "sliding_window": 7,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 3.0,
            "attn_logit_softcapping": 2.0,
        }
    ),
    "qwen2_5_vl": lambda: _qwen("Qwen2_5_VL"),
    "qwen2_vl": lambda: _qwen("Qwen2VL"),
    "qwen3_vl": lambda: _qwen("Qwen3VL"),
    "internvl": _internvl,
    "smolvlm": lambda: _idefics("SmolVLM"),
    "idefics3": lambda: _idefics("Idefics3"),
    "gemma3": _gemma,
    "llava_onevision": _onevision,
    "mistral3": _mistral,
    "paligemma": _paligemma,
    "mllama": _mllama,
    "lfm2": _lfm,
}
