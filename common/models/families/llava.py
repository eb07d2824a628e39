"""LLaVA-1.5: CLIP, a small MLP, Vicuna. In the original layout and in the one that transformers writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from common.errors import CheckpointError
from common.models.base import CaptionModel
from common.models.checkpoints.config_files import read_config
from common.models.checkpoints.files import open_folder
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.checkpoints.loading import Source, fill, without_memory
from common.models.families.checks.family_check import check_family
from common.models.families.checks.processor_check import check_llava_processor
from common.models.families.llava_original import ORIGINAL_LAYOUT, find_parts
from common.models.parts.clip_tower import CLIP_VISION, build_tower
from common.models.parts.llama import LLAMA, build_llama, finish_llama, tied_names
from common.models.parts.preprocess_files import read_preprocessing
from common.models.parts.projector import build_projector, projector_depth
from common.models.text.tokenizers import load_tokenizer
from common.paths import display

TEMPLATE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: <image>\n{prompt} ASSISTANT:"
)


def _projector(file: str) -> KeyMap:
    first, second = (rename(f"{file}linear_{i}.{{}}", f"connector.{2 * i - 2}.{{}}") for i in (1, 2))
    return KeyMap((first, second))


def hf_layout(names: Iterable[str]) -> KeyMap:
    """The names of transformers' layout, of which it has written several: found by those in the file.

    The decoder is a whole model below `language_model.`, or its trunk below `model.` beside its head; the tower has a
    level `vision_model.` or not.
    """
    names = list(names)
    trunk = "model." if any(name.startswith("model.") for name in names) else ""
    level = "vision_model." if any(".vision_model." in name for name in names) else ""
    decoder = KeyMap((rename("model.language_model.{}", "lm.model.{}"), rename("lm_head.{}", "lm.lm_head.{}")))
    return (
        (decoder if trunk else LLAMA.prefixed("language_model.", "lm."))
        + _projector(f"{trunk}multi_modal_projector.")
        + CLIP_VISION.prefixed(f"{trunk}vision_tower.{level}", "vision.")
    )


HF_LAYOUT = hf_layout(["vision_tower.vision_model."])


class Llava(CaptionModel):
    """LLaVA-1.5. `selected_layers`: hidden states of the tower that the connector gets, side by side."""

    name = "llava"
    template = TEMPLATE
    max_positions: ClassVar[int | None] = 4096

    drops_padding: ClassVar[bool] = True  # the published code removes pad ids, which are <unk>, from its input

    selected_layers: tuple[int, ...] = (-2,)
    keep_class_token: bool = False

    @classmethod
    def load(cls, path: Path | None, device: torch.device, dtype: torch.dtype, **settings: Any) -> CaptionModel:
        """Load a folder of either layout, told apart by its config.json.

        Args:
            settings: vit_path and vit_num_heads (original layout), image_aspect_ratio.

        Raises CheckpointError for a folder of another model.
        """
        if path is None or not path.is_dir():
            raise CheckpointError(f"no checkpoint folder {display(path or '')}; give it with --{cls.name}_path")
        config = read_config(path / "config.json")
        if is_hf_layout(config):
            return cls._load_hf(path, config, device, dtype, settings.get("image_aspect_ratio", "crop"))
        return cls._load_original(path, config, device, dtype, **settings)

    @classmethod
    def _load_hf(
        cls, path: Path, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype, fit: str
    ) -> CaptionModel:
        where = display(path / "config.json")
        text, sight = dict(config.get("text_config") or {}), dict(config.get("vision_config") or {})
        check_family(config, cls.name, path)
        check_parts(config, where)
        text["tie_word_embeddings"] = bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))
        layers = -2 if config.get("vision_feature_layer") is None else config["vision_feature_layer"]
        layers = tuple(layers) if isinstance(layers, list) else (layers,)
        tokenizer = load_tokenizer(path, prefer_fast=True)
        with without_memory():
            vision, lm = build_tower(sight, where), build_llama(text, where)
            connector = build_projector(vision.config.hidden_size * len(layers), lm.config.hidden_size, 2)
        check_layers(layers, vision.config.num_hidden_layers, where)
        check_llava_processor(path, config, vision.config.patch_size, tokenizer)
        files = open_folder(path, cls.name, f"--{cls.name}_path")
        layout = hf_layout(files.shapes())
        preprocessing = read_preprocessing(path, vision.config.image_size, fit)
        model = cls(vision, connector, lm, tokenizer, preprocessing, layout, path)
        fill(model, [Source(files, layout)], device, dtype, optional=tied_names(lm))
        finish_llama(lm, tokenizer, where)
        model.selected_layers = layers
        model.keep_class_token = config.get("vision_feature_select_strategy") == "full"
        return model

    @classmethod
    def _load_original(
        cls,
        path: Path,
        config: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        vit_path: str | Path | None = None,
        vit_num_heads: int | None = None,
        image_aspect_ratio: str = "crop",
    ) -> CaptionModel:
        check_family(config, cls.name, path)
        where = display(path / "config.json")
        parts = find_parts(path, config, cls.name, vit_path, vit_num_heads)
        tokenizer = load_tokenizer(path, prefer_fast=False)
        with without_memory():
            vision, lm = build_tower(parts.vision_config, where), build_llama(config, where)
            depth = projector_depth(config.get("mm_projector_type") or "mlp2x_gelu", where)
            connector = build_projector(vision.config.hidden_size, lm.config.hidden_size, depth)
        check_layers(parts.layers, vision.config.num_hidden_layers, where)
        preprocessing = read_preprocessing(parts.tower_folder, vision.config.image_size, image_aspect_ratio)
        model = cls(vision, connector, lm, tokenizer, preprocessing, ORIGINAL_LAYOUT, path)
        fill(model, parts.sources, device, dtype, optional=tied_names(lm))
        finish_llama(lm, tokenizer, where)
        model.selected_layers, model.keep_class_token = parts.layers, parts.keep_class_token
        model.dropped_ids = frozenset({tokenizer.unk_id} if cls.drops_padding else ())
        return model

    def see(self, pixels: Tensor) -> Tensor:
        """Patch tokens of the selected layer: [n, 3, s, s] -> [n, (s / patch)^2, hidden]."""
        states = self.vision(pixels, output_hidden_states=True).hidden_states
        seen = torch.cat([states[layer] for layer in self.selected_layers], dim=-1)
        return seen if self.keep_class_token else seen[:, 1:]

    def trained_layout(self) -> KeyMap:
        """The published names, and those of transformers."""
        return ORIGINAL_LAYOUT + HF_LAYOUT


def is_hf_layout(config: Mapping[str, Any]) -> bool:
    """Whether a config.json of model_type "llava" is of transformers' layout and not of the original one."""
    return "text_config" in config or "LlavaForConditionalGeneration" in (config.get("architectures") or [])


def check_parts(config: Mapping[str, Any], where: str) -> None:
    """Raise CheckpointError if a folder of transformers' layout has another encoder or projector than LLaVA-1.5's."""
    encoder = (config.get("vision_config") or {}).get("model_type", "clip_vision_model")
    activation = config.get("projector_hidden_act", "gelu")
    if encoder not in ("clip", "clip_vision_model") or activation != "gelu":
        raise CheckpointError(
            f"{where}: encoder {encoder} or projector {activation} is not LLaVA-1.5's; use --model auto"
        )


def check_layers(layers: Sequence[int], depth: int, where: str) -> None:
    """Raise CheckpointError for a hidden state that a tower of `depth` layers does not have."""
    for layer in layers:
        if not -depth - 1 <= layer <= depth:
            raise CheckpointError(f"{where} takes layer {layer} of a vision tower of {depth} layers")


class Share4v(Llava):
    """ShareGPT4V-7B: the same with a tuned tower. Its published code neither cuts long inputs nor drops pad ids."""

    name = "share4v"
    max_positions: ClassVar[int | None] = None
    drops_padding: ClassVar[bool] = False
