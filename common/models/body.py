"""The one shape of all published models: vision encoder -> connector -> decoder, as modules with their facts.

What is trained of them and how they are saved is in `weights/`; what a whole model can do is in `base.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from common.errors import ArgumentError
from common.models.anatomy import positions_of
from common.models.checkpoints.key_maps import KeyMap
from common.models.parts.preprocess import Preprocessing
from common.models.text.tokenizers import TextTokenizer


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters of the decoder's linear layers.

    Args:
        rank: r of each adapter.
        alpha: what an adapter gives is multiplied by alpha / rank.
        targets: last names of the layers that get one.
        dropout: of an adapter's input, in training only; 0 keeps losses exact.

    Raises ArgumentError for numbers outside their range.
    """

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"--lora_{name} is {getattr(self, name)}; give a number from 1")
        if not 0 <= self.dropout < 1:
            raise ArgumentError(f"--lora_dropout is {self.dropout:g}; give a number from 0 and below 1")
        if not self.targets:
            raise ArgumentError("--lora_targets names no layer; give names such as q_proj v_proj, or leave it out")


class ModelBody(nn.Module):
    """The three modules, frozen and without dropout, but for what training asks of low-rank adapters.

    Args:
        vision: the frozen encoder.
        connector: what maps its output to decoder embeddings; the part that is usually trained.
        lm: a causal language model of transformers.
        tokenizer, preprocessing: of text and images.
        layout: tensor names of the files that the model came from.
        source: those files, for manifests and messages.
    """

    name: ClassVar[str]
    connector_parts: tuple[str, ...] = ("connector.",)
    decoder_parts: tuple[str, ...] = ("lm.",)
    decoder_layers: str = "lm.model.layers."

    def __init__(
        self,
        vision: nn.Module,
        connector: nn.Module,
        lm: Any,
        tokenizer: TextTokenizer,
        preprocessing: Preprocessing,
        layout: KeyMap,
        source: Path | None,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.connector = connector
        self.lm = lm
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.layout = layout
        self.source = source
        self.source_hash: str | None = None
        self.selection: str | None = None  # what set_trainable chose last
        self.frozen_dtype: torch.dtype | None = None
        self.cast_hooks: list[RemovableHandle] = []
        self.lora: LoraSettings | None = None
        self.requires_grad_(False)
        self.eval()

    def lora_host(self) -> nn.Module:
        """Where low-rank adapters go: the decoder."""
        host: nn.Module = self.lm
        return host

    def parts_hint(self) -> str:
        """What a message adds about the parts there are, where a family does not always have all of them."""
        return ""

    def tower_parameters(self) -> list[nn.Parameter]:
        """Of the encoder, up to the connector."""
        return list(self.vision.parameters())

    def trained_layout(self) -> KeyMap:
        """Tensor names that a published trained checkpoint of this family may use."""
        return self.layout

    @property
    def device(self) -> torch.device:
        """Where the decoder's embeddings are."""
        device: torch.device = self.lm.get_input_embeddings().weight.device
        return device

    @property
    def compute_dtype(self) -> torch.dtype:
        """Dtype of the activations: that of the frozen weights, whatever the trained masters are."""
        dtype: torch.dtype = self.lm.get_input_embeddings().weight.dtype
        return self.frozen_dtype or dtype

    @property
    def positions(self) -> int | None:
        """Tokens of prompt, image and caption that the decoder knows places for; None: its config does not say.

        What is beyond was never trained, or has no embedding; `max_positions` is where published code cuts.
        """
        return positions_of(self.lm.config)

    def train(self, mode: bool = True) -> ModelBody:
        """Only the decoder follows `mode` (for gradient checkpointing, and dropout in adapters); the rest never."""
        super().train(False)
        self.lm.train(mode)
        return self
