"""The JSON of model folders as typed records: what the adapters look at has its type, or one line names file and field.

Fields that nothing here looks at may be anything. A null counts as absent, as it does in transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from common.errors import CheckpointError
from common.files.json_text import as_record
from common.files.storage import read_record
from common.paths import display

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layer = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
Section = dict[str, Any]


class FolderValues(msgspec.Struct, frozen=True):
    """What adapters read of a folder's config.json, besides the sizes of its parts."""

    architectures: list[str] | None = None
    model_type: str | None = None
    text_config: Section | None = None
    vision_config: Section | None = None
    visual_abstractor_config: Section | None = None
    tie_word_embeddings: bool | None = None
    vision_feature_layer: Layer | list[Layer] | None = None
    vision_feature_select_strategy: str | None = None
    projector_hidden_act: str | None = None
    image_seq_length: Size | None = None
    image_token_index: int | None = None
    image_token_id: int | None = None
    mm_projector_type: str | None = None
    mm_vision_tower: str | None = None
    mm_vision_select_feature: str | None = None
    mm_vision_select_layer: Layer | None = None


class LlamaValues(msgspec.Struct, frozen=True):
    """What of a config.json describes the decoder; older files lack some, and then LlamaConfig's defaults are right."""

    vocab_size: Size | None = None
    hidden_size: Size | None = None
    intermediate_size: Size | None = None
    num_hidden_layers: Size | None = None
    num_attention_heads: Size | None = None
    num_key_value_heads: Size | None = None
    hidden_act: str | None = None
    max_position_embeddings: Size | None = None
    rms_norm_eps: float | None = None
    rope_theta: float | None = None
    rope_scaling: Section | None = None
    rope_parameters: Section | None = None
    head_dim: Size | None = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    tie_word_embeddings: bool | None = None
    initializer_range: float | None = None


class TowerValues(msgspec.Struct, frozen=True):
    """What of a vision config describes a CLIP tower."""

    model_type: str | None = None
    hidden_size: Size | None = None
    intermediate_size: Size | None = None
    num_hidden_layers: Size | None = None
    num_attention_heads: Size | None = None
    image_size: Size | None = None
    patch_size: Size | None = None
    hidden_act: str | None = None
    layer_norm_eps: float | None = None


class AbstractorValues(msgspec.Struct, frozen=True):
    """What of mPLUG-Owl's config its tensors do not tell."""

    num_attention_heads: Size | None = None
    layer_norm_eps: float | None = None


class BertValues(msgspec.Struct, frozen=True):
    """What of a Q-Former's config its tensors do not tell."""

    num_attention_heads: Size | None = None
    layer_norm_eps: float | None = None
    hidden_act: str | None = None


class MiniGptValues(msgspec.Struct, frozen=True):
    """What is read of the `model` section of MiniGPT-4's YAML config."""

    ckpt: str | None = None
    llama_model: str | None = None
    q_former_model: str | None = None
    has_qformer: bool | None = None
    image_size: Size | None = None
    max_txt_len: Size | None = None
    end_sym: str | None = None


class ProcessorValues(msgspec.Struct, frozen=True):
    """What a processor_config.json says of the image tokens that it writes into a text."""

    image_processor: Section | None = None
    image_token: str | Section | None = None
    patch_size: int | None = None
    num_additional_image_tokens: int | None = None
    vision_feature_select_strategy: str | None = None


Sides = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]


class PixelValues(msgspec.Struct, frozen=True):
    """What a preprocessor_config.json says of pixels."""

    size: Sides | dict[str, Sides | None] | None = None
    crop_size: Sides | dict[str, Sides | None] | None = None
    image_mean: Annotated[list[float], msgspec.Meta(min_length=3, max_length=3)] | None = None
    image_std: Annotated[list[float], msgspec.Meta(min_length=3, max_length=3)] | None = None
    resample: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    do_rescale: bool | None = None
    do_normalize: bool | None = None
    do_pad: bool | None = None
    rescale_factor: float | None = None


def read_config(path: Path) -> Section:
    """A folder's config.json, whose fields are of the types of :class:`FolderValues`.

    Raises CheckpointError where there is none, DataError naming file and field.
    """
    if path.parent.is_dir() and not path.is_file():
        raise CheckpointError(f"no {path.name} in {display(path.parent)}; give a checkpoint folder, or copy the file")
    values = read_record(path, Section)
    as_record(values, FolderValues, str(path))
    return values


def given(values: msgspec.Struct) -> Section:
    """The fields of a record that are not null."""
    return {name: value for name, value in msgspec.structs.asdict(values).items() if value is not None}
