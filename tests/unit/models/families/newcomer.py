"""A family that nothing here has heard of: its parts bear names of their own, and it is made of usual modules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from tests.unit.models.tiny_auto import TEXT, auto_tokenizer, write_auto


class NewcomerConfig(PreTrainedConfig):  # type: ignore[misc]
    """Of eyes and mind."""

    model_type = "newcomer_vl"
    sub_configs = {"eye_config": SiglipVisionConfig, "mind_config": Qwen3Config}  # noqa: RUF012
    eye_config: Any = None
    mind_config: Any = None
    image_token_id: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        """Parts from their values, as files have them."""
        self.eye_config = (
            SiglipVisionConfig(**self.eye_config) if isinstance(self.eye_config, dict) else self.eye_config
        )
        self.mind_config = Qwen3Config(**self.mind_config) if isinstance(self.mind_config, dict) else self.mind_config
        super().__post_init__(**kwargs)

    def get_text_config(self, *_: Any, **__: Any) -> Any:
        """What says how large the mind is."""
        return self.mind_config or self


class NewcomerForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Four patches become one token: a bridge from the eyes to the mind, and a word for every thought."""

    config_class = NewcomerConfig
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: NewcomerConfig) -> None:
        super().__init__(config)
        self.eyes = SiglipVisionModel(config.eye_config)
        seen, thought = config.eye_config.hidden_size, config.mind_config.hidden_size
        self.bridge = nn.Sequential(nn.Linear(4 * seen, thought), nn.GELU(), nn.Linear(thought, thought))
        self.gap = nn.Parameter(torch.zeros(thought))
        self.mind = Qwen3Model(config.mind_config)
        self.word = nn.Linear(thought, config.mind_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Of the mind."""
        return self.mind.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        """The words."""
        return self.word

    def get_decoder(self, *_: Any, **__: Any) -> nn.Module:
        """The mind."""
        return self.mind

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, d]."""
        return self.bridge(self.eyes(pixel_values).last_hidden_state.flatten(1)) + self.gap

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int = 0,
        **more: Any,
    ) -> CausalLMOutputWithPast:
        """As of every model that continues a text."""
        if inputs_embeds is None:
            inputs_embeds = self.mind.embed_tokens(input_ids)
        if pixel_values is not None:
            places = (input_ids == self.config.image_token_id)[..., None].expand_as(inputs_embeds)
            inputs_embeds = inputs_embeds.masked_scatter(places, self.get_image_features(pixel_values))
        out = self.mind(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **more)
        hidden = out.last_hidden_state[:, -logits_to_keep:] if logits_to_keep else out.last_hidden_state
        return CausalLMOutputWithPast(logits=self.word(hidden), past_key_values=out.past_key_values)

    def prepare_inputs_for_generation(self, *given: Any, **more: Any) -> dict[str, Any]:
        """The picture is looked at once."""
        first = more.get("is_first_iteration", True)
        made: dict[str, Any] = super().prepare_inputs_for_generation(*given, **more)
        return made if first else made | {"pixel_values": None}


@contextmanager
def known() -> Iterator[None]:
    """transformers knows the family meanwhile, as it knows its own."""
    AutoConfig.register(NewcomerConfig.model_type, NewcomerConfig)
    AutoModelForImageTextToText.register(NewcomerConfig, NewcomerForConditionalGeneration)
    try:
        yield
    finally:
        CONFIG_MAPPING._extra_content.pop(NewcomerConfig.model_type)
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING._extra_content.pop(NewcomerConfig)


def write_newcomer(folder: Path) -> None:
    """A tiny checkpoint, with a processor that is there already."""
    write_auto(folder, "internvl")
    tokenizer = auto_tokenizer("internvl")
    eyes = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
    )
    mind = Qwen3Config(**{**TEXT, "vocab_size": len(tokenizer), "head_dim": 8})
    place = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    torch.manual_seed(2)
    model = NewcomerForConditionalGeneration(NewcomerConfig(eye_config=eyes, mind_config=mind, image_token_id=place))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.15)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == NewcomerConfig.model_type
