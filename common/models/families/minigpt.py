"""MiniGPT-4: EVA ViT-g, optionally BLIP-2's Q-Former, one linear layer, Llama-2-chat or Vicuna.

Two variants: without Q-Former (four neighbouring patches are joined, 64 image tokens) and with it (32 image tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import CheckpointError
from common.models.base import CaptionModel
from common.models.checkpoints.config_files import read_config
from common.models.checkpoints.files import TensorFiles, open_file, open_folder
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.checkpoints.loading import Source, fill, put, without_memory
from common.models.families.checks.family_check import check_family
from common.models.families.minigpt_files import MiniGptFiles, find_files
from common.models.parts.eva import LN_VISION, build_eva, eva_layout, eva_sizes
from common.models.parts.llama import LLAMA, build_llama, finish_llama, tied_names
from common.models.parts.minigpt_vision import PATCHES_JOINED, MiniGptVision
from common.models.parts.preprocess import Preprocessing
from common.models.parts.qformer import QFORMER, build_qformer, read_bert_values
from common.models.text.tokenizers import load_tokenizer
from common.paths import display

PAD_PIECE = "$$"  # the published code's padding token; a target token equal to it is left out of the loss
PROJECTION = KeyMap((rename("llama_proj.{}", "connector.{}"),))
BRIDGE = QFORMER.prefixed(module="vision.") + LN_VISION.prefixed(module="vision.vit.")
UNUSED_BRIDGE = KeyMap((), ("Qformer.{}", "query_tokens"))
IDENTITY_NORM = ("vision.vit.post_layernorm.weight", "vision.vit.post_layernorm.bias")


@dataclass(frozen=True)
class OpenFiles:
    """The tensor files of one model; `bridge` (Q-Former) only where the variant has one."""

    projection: TensorFiles
    vit: TensorFiles
    llama: TensorFiles
    bridge: TensorFiles | None


class MiniGpt(CaptionModel):
    """MiniGPT-4, assembled from its separate files."""

    name = "minigpt"
    template = "[INST] <Img><ImageHere></Img> {prompt} [/INST]"
    image_token = "<ImageHere>"

    max_target_tokens: int = 160
    end_symbol: str = "</s>"
    decoder_source: Path  # the Llama folder

    @classmethod
    def load(
        cls,
        path: Path | None,
        device: torch.device,
        dtype: torch.dtype,
        vit_num_heads: int | None = None,
        qformer_num_heads: int | None = None,
        qformer_config: Any = None,
        **paths: Any,
    ) -> CaptionModel:
        """Load from the projection file `path` and the files that the settings or the published YAML config name.

        Args:
            qformer_config: BERT's config (folder, file, mapping or config object), for what tensors do not tell.
            paths: vit_path, llama_path, qformer_path, config (the YAML file).

        Raises CheckpointError for a file that is missing or of another model.
        """
        found = find_files(path, **paths)
        config = read_config(found.llama / "config.json")
        check_family(config, cls.name, found.llama)
        where = display(found.llama / "config.json")
        files = open_files(found, vit_num_heads)
        tokenizer = load_tokenizer(found.llama, prefer_fast=False)
        bert = read_bert_values(qformer_config)
        with without_memory():
            vision = build_vision(files, found.image_size, vit_num_heads, qformer_num_heads, bert)
            lm = build_llama(config, where)
            connector = nn.Linear(vision.out_features, lm.config.hidden_size)
        preprocessing = Preprocessing(vision.sizes.image_size, vision.sizes.image_size, "squash")
        model = cls(vision, connector, lm, tokenizer, preprocessing, joint_layout(vision), files.projection.path)
        unstored = IDENTITY_NORM if files.bridge is None else ()
        fill(model, sources(files, vision), device, dtype, optional=(*tied_names(lm), *unstored))
        _fill_identity_norm(model, vision, device, dtype)
        finish_llama(lm, tokenizer, where)
        model.uncounted_ids = frozenset({tokenizer.id_of(PAD_PIECE)})
        model.decoder_source = found.llama
        model.max_target_tokens, model.end_symbol = found.max_target_tokens, found.end_symbol
        return model

    def see(self, pixels: Tensor) -> Tensor:
        """Joined patches [n, 64, 4 * hidden], or the Q-Former's answers [n, 32, hidden]."""
        seen: Tensor = self.vision(pixels)
        return seen

    def encode_target(self, text: str, add_eos: bool) -> list[int]:
        """The target with the end symbol as text, cut to the published number of tokens (which may cut it off)."""
        return self.tokenizer.encode(text + self.end_symbol * add_eos)[: self.max_target_tokens]

    def decode(self, ids: Sequence[int]) -> str:
        """As published: up to the end symbol, from the last [/INST] on."""
        text = self.tokenizer.decode(ids)
        return text.split(self.end_symbol)[0].split("[/INST]")[-1].strip()

    def trained_layout(self) -> KeyMap:
        """Names in MiniGPT's own state dict, which training saves."""
        vision: Any = self.vision
        return own_layout(vision)


def open_files(found: MiniGptFiles, heads: int | None) -> OpenFiles:
    """Open the files and decide on the variant. Raises CheckpointError if a needed Q-Former file was not given."""
    projection = open_file(found.projection, "projection", "--minigpt_path")
    vit = open_file(found.vit, "vision encoder", "--minigpt_vit_path")
    shape = projection.shapes().get("llama_proj.weight")
    if shape is None:
        raise CheckpointError(f"{display(projection.path)} holds no llama_proj.weight; it is no MiniGPT-4 projection")
    hidden = eva_sizes(vit.shapes(), display(vit.path), heads, None).hidden
    joined = shape[1] == PATCHES_JOINED * hidden
    has_qformer = (not joined) if found.has_qformer is None else found.has_qformer
    if has_qformer and found.qformer is None:
        raise CheckpointError(
            f"{display(projection.path)} projects {shape[1]} features, so it needs the Q-Former; "
            "give its file with --minigpt_qformer_path"
        )
    bridge = open_file(found.qformer, "Q-Former", "--minigpt_qformer_path") if has_qformer and found.qformer else None
    llama = open_folder(found.llama, "decoder", "--minigpt_llama_path")
    return OpenFiles(projection, vit, llama, bridge)


def build_vision(
    files: OpenFiles, image_size: int | None, heads: int | None, qformer_heads: int | None, bert: Mapping[str, Any]
) -> MiniGptVision:
    """The empty encoder, with a Q-Former where the variant has one. Raises CheckpointError as its parts do."""
    sizes = eva_sizes(files.vit.shapes(), display(files.vit.path), heads, image_size)
    if files.bridge is None:
        return MiniGptVision(build_eva(sizes), None, sizes)
    shapes = files.bridge.shapes()
    qformer = build_qformer(shapes, display(files.bridge.path), qformer_heads, bert)
    return MiniGptVision(build_eva(sizes), qformer, sizes, queries=shapes["query_tokens"][1])


def sources(files: OpenFiles, vision: MiniGptVision) -> list[Source]:
    """All tensors; the projection file comes last, as whatever else it holds overrides."""
    found = [
        Source(files.vit, eva_layout(vision.sizes).prefixed(module="vision.vit.")),
        Source(files.llama, LLAMA.prefixed(module="lm.")),
        Source(files.projection, own_layout(vision)),
    ]
    if files.bridge is not None:
        found.insert(1, Source(files.bridge, BRIDGE))
    return found


def own_layout(vision: MiniGptVision) -> KeyMap:
    """Names in MiniGPT's own state dict: the projection file, and what training saves."""
    eva = replace(eva_layout(vision.sizes), open_ended=False)
    bridge = BRIDGE if vision.qformer is not None else UNUSED_BRIDGE + LN_VISION.prefixed(module="vision.vit.")
    return PROJECTION + eva.prefixed("visual_encoder.", "vision.vit.") + bridge + LLAMA.prefixed("llama_model.", "lm.")


def joint_layout(vision: MiniGptVision) -> KeyMap:
    """Names in the separate files, all together; they do not collide."""
    bridge = BRIDGE if vision.qformer is not None else LN_VISION.prefixed(module="vision.vit.")
    return eva_layout(vision.sizes).prefixed(module="vision.vit.") + bridge + PROJECTION + LLAMA.prefixed(module="lm.")


def _fill_identity_norm(model: nn.Module, vision: MiniGptVision, device: torch.device, dtype: torch.dtype) -> None:
    """The variant without Q-Former stores `ln_vision` nowhere: it is the identity's weight and bias."""
    norm = vision.vit.post_layernorm
    if norm.weight.is_meta:
        put(model, IDENTITY_NORM[0], torch.ones(vision.sizes.hidden, device=device, dtype=dtype))
        put(model, IDENTITY_NORM[1], torch.zeros(vision.sizes.hidden, device=device, dtype=dtype))
