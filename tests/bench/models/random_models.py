"""The four published models at full size (or tiny, to try the scripts) with random weights, made on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from common.models.base import CaptionModel
from common.models.checkpoints.key_maps import KeyMap
from common.models.checkpoints.loading import put, without_memory
from common.models.families.llava import Llava, Share4v
from common.models.families.minigpt import MiniGpt
from common.models.families.owl import Owl
from common.models.parts.abstractor import Abstractor, AbstractorSizes
from common.models.parts.clip_tower import build_tower
from common.models.parts.eva import EvaSizes, build_eva
from common.models.parts.llama import build_llama
from common.models.parts.minigpt_vision import MiniGptVision
from common.models.parts.preprocess import Preprocessing
from common.models.parts.projector import build_projector

NAMES = ("llava", "share4v", "owl", "minigpt")


@dataclass(frozen=True)
class Scale:
    """Sizes that differ between full and tiny. `image`: side for llava; owl and minigpt have `small_image`."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    vision: int
    vision_layers: int
    eva: int
    eva_layers: int
    image: int
    small_image: int


SCALES = {
    "7b": Scale(4096, 11008, 32, 32, 1024, 24, 1408, 39, 336, 224),
    "middle": Scale(1024, 2816, 8, 8, 64, 3, 64, 2, 28, 28),
    "small": Scale(512, 1376, 4, 8, 256, 3, 64, 2, 112, 28),
    "tiny": Scale(64, 96, 2, 4, 64, 3, 64, 2, 28, 28),
}


class WordTokenizer:
    """A stand-in: one id a word, so that lengths are about right. The published tokenizer needs its file."""

    bos_id, eos_id, unk_id, vocab_size = 1, 2, 0, 32000

    def encode(self, text: str) -> list[int]:
        """Ids from the letters of each word."""
        return [260 + sum(map(ord, word)) * 7919 % 31000 for word in text.split()]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Words and where they are."""
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return self.encode(text), spans

    def decode(self, ids: Sequence[int]) -> str:
        """The numbers."""
        return " ".join(map(str, ids))

    def id_of(self, piece: str) -> int:
        """Of any piece."""
        return self.encode(piece)[0]


def random_model(
    name: str, device: torch.device, dtype: torch.dtype = torch.bfloat16, scale: str = "7b", seed: int = 0
) -> CaptionModel:
    """One of `NAMES` with random weights. Never stops early, as its end symbol is as likely as any other."""
    with without_memory():
        model = _empty(name, SCALES[scale])
    generator = torch.Generator(device).manual_seed(seed)
    for path, parameter in list(model.named_parameters()):
        spread = 1.0 / math.sqrt(parameter.shape[-1]) if parameter.ndim > 1 else 0.02
        tensor = torch.empty(parameter.shape, device=device, dtype=dtype)
        tensor.normal_(1.0 if "norm" in path and path.endswith("weight") else 0.0, spread, generator=generator)
        put(model, path, tensor)
    return model.to(device)


def _empty(name: str, s: Scale) -> CaptionModel:
    decoder: dict[str, Any] = {
        "hidden_size": s.hidden,
        "intermediate_size": s.ffn,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "max_position_embeddings": 4096,
    }
    lm = build_llama(decoder, name)
    if name == "minigpt":
        sizes = EvaSizes(s.eva, int(s.eva * 4.3637), s.eva_layers, 14, s.small_image, 16)
        vision = MiniGptVision(build_eva(sizes), None, sizes)
        return _assembled(MiniGpt, vision, nn.Linear(vision.out_features, s.hidden), lm, s.small_image)
    side = s.small_image if name == "owl" else s.image
    tower = build_tower(
        {
            "hidden_size": s.vision,
            "intermediate_size": 4 * s.vision,
            "num_hidden_layers": s.vision_layers,
            "num_attention_heads": 16,
            "image_size": side,
            "patch_size": 14,
        },
        name,
    )
    if name == "owl":
        intermediate = 2816 if s.vision == 1024 else 2 * s.vision
        abstractor = AbstractorSizes(64, s.vision, s.vision, intermediate, 6, 16, s.hidden)
        return _assembled(Owl, tower, Abstractor(abstractor), lm, side)
    kind = Llava if name == "llava" else Share4v
    return _assembled(kind, tower, build_projector(s.vision, s.hidden, 2), lm, side)


def _assembled(kind: type[CaptionModel], vision: nn.Module, connector: nn.Module, lm: Any, side: int) -> CaptionModel:
    preprocessing = Preprocessing(side, side, "crop" if issubclass(kind, Llava) else "squash")
    return kind(vision, connector, lm, WordTokenizer(), preprocessing, KeyMap(()), None)
