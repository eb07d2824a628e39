"""The one shape of all published models: vision encoder -> connector -> decoder, and everything that follows from it.

An adapter says how its files map to these three modules, how images and texts are cut, and what is seen of the encoder;
losses, training of chosen parts and checkpoints of them are here; how a model is asked is in `speaking.py`.
Shapes: n samples, m image tokens, d hidden size of the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.models.checkpoints.key_maps import KeyMap
from common.models.generation.decoding import Decoding
from common.models.packed.decoder import PackedDecoder, PackedSettings
from common.models.packed.head_losses import token_losses
from common.models.packed.layout import PackedImage, PackLayout, lay_out
from common.models.parts.preprocess import Preprocessing
from common.models.speaking import Speaking
from common.models.text.ids import PromptIds
from common.models.text.sequence import attention_mask, check_lengths, embed_rows, pad_rows, target_table
from common.models.text.tokenizers import TextTokenizer
from common.models.weights.eight_bit import to_eight_bits
from common.models.weights.four_bit import quantise
from common.models.weights.selection import lay_masters, select
from common.models.weights.trained import LoadReport, load_trained, save_trained

__all__ = ["CaptionModel", "Decoding", "LoadReport", "PackedSettings"]

SEEN = "seen"  # what is kept of the tower: [k, hidden size of the tower]


class CaptionModel(Speaking):
    """A multimodal model that describes images. Always without dropout; frozen until :meth:`set_trainable`.

    Arguments are those of :class:`ModelBody`.
    """

    max_positions: ClassVar[int | None] = None  # of prompt, image and target together; a longer target is cut
    even_images: ClassVar[bool] = True  # whether every image takes the same number of tokens
    sees_apart: bool = True  # whether tower and connector can be run one after the other
    packs: bool = True  # whether `packed_losses` works

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
        super().__init__(vision, connector, lm, tokenizer, preprocessing, layout, source)
        self.eos_id: int = tokenizer.eos_id
        self.stop_ids: frozenset[int] = frozenset({tokenizer.eos_id})  # that end a generated text
        self.dropped_ids = frozenset()
        self.hidden_ids: frozenset[int] = frozenset()  # ids that it hides from attention in training
        self.uncounted_ids: frozenset[int] = frozenset()  # target ids that it leaves out of the loss
        self._decoder: PackedDecoder | None = None
        self.packed = PackedSettings()

    @classmethod
    def load(cls, path: Path | None, device: torch.device, dtype: torch.dtype, **settings: Any) -> CaptionModel:
        """Load from files; see the adapters. Raises CheckpointError for files that do not fit."""
        raise NotImplementedError

    def see(self, pixels: Tensor) -> Tensor:
        """What the connector gets: [n, 3, h, w] -> [n, k, hidden size of the encoder]."""
        raise NotImplementedError

    def preprocess(self, images: Sequence[Any]) -> Tensor:
        """PIL images -> [n, 3, h, w] float32 on the CPU. Raises DataError for an image with a zero side."""
        return self.preprocessing(images)

    def reduced(self, image: Any) -> Any:
        """What `preprocess` looks at of an image: of a large one a smaller one that gives the same pixels."""
        return self.preprocessing.reduced(image)

    def image_features(self, pixels: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, m, d] input embeddings; differentiable in whatever is trained."""
        pixels = pixels.to(self.device, self.compute_dtype, non_blocking=True)
        vision_trains = any(p.requires_grad for p in self.vision.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and vision_trains):
            seen = self.see(pixels)
        return self.connect(seen)

    def image_settings(self) -> str:
        """Everything that what is kept of an image depends on, beside weights, dtype and the image."""
        return str(self.preprocessing)

    def keep(self, pixels: Any) -> list[dict[str, Tensor]]:
        """What of the frozen tower is kept for each image, on the CPU. `pixels`: from :meth:`preprocess`."""
        return [{SEEN: one} for one in self.see(pixels.to(self.device, self.compute_dtype)).cpu()]

    def kept(self, records: Sequence[dict[str, Tensor]]) -> Any:
        """What :meth:`connect` takes, from what was kept of images."""
        return torch.stack([record[SEEN] for record in records])

    def tokens_of(self, size: tuple[int, int], prompt: PromptIds, name: str = "") -> int:
        """Tokens that an image of (width, height) takes in a prompt, where they differ (`even_images`).

        Raises DataError, with the name of its file, for an image that the model has no room for.
        """
        raise NotImplementedError

    def connect(self, seen: Tensor) -> Tensor:
        """Run the connector and return in the dtype of the decoder's activations: [n, k, hidden size] -> [n, m, d].

        Its products are in its own dtype (float32 masters), or with `PackedSettings.fast_connector` in the decoder's.
        """
        dtype = self.compute_dtype
        with torch.autocast(self.device.type, dtype, enabled=self.packed.fast_connector and dtype != torch.float32):
            out: Tensor = self.connector(seen.to(next(self.connector.parameters()).dtype))
        return out.to(dtype)

    def target_losses(self, features: Tensor, prompts: Sequence[PromptIds], targets: Sequence[Sequence[int]]) -> Tensor:
        """Cross-entropy of each target token after its prompt: [n, longest target] float32, 0 past each end.

        Logits are computed at target positions only. `features`: [n, m, d].
        """
        image_tokens = features.shape[1]
        tails = [target[:-1] for target in targets]
        embeds, _ = pad_rows(embed_rows(self.lm.get_input_embeddings(), features, prompts, tails), left=False)
        mask = attention_mask(prompts, tails, image_tokens, self.hidden_ids, embeds)
        hidden = self.lm.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
        ids, real = target_table(targets, features.device)
        starts = torch.tensor([prompt.length(image_tokens) - 1 for prompt in prompts], device=features.device)
        row, step = real.nonzero(as_tuple=True)
        logits = self.lm.get_output_embeddings()(hidden[row, starts[row] + step])
        flat = token_losses(logits, ids[real])
        return flat.new_zeros(ids.shape).masked_scatter(real, flat)

    def lay_out(
        self,
        pixels: Any,  # noqa: ARG002
        groups: Sequence[PackedImage],
        image_tokens: int,
        length: int,
        static: bool,  # noqa: ARG002
    ) -> Any:
        """Lay images with their captions into a pack of `length` positions.

        Args:
            pixels: of the images that the groups name, or what is kept of their tower.
            static: whether all packs must have one shape.
        """
        return lay_out(groups, image_tokens, length)

    def packed_losses(self, features: Tensor, layout: PackLayout) -> Tensor:
        """As :meth:`target_losses`, for all branches of a pack in one sequence: [rows, longest target] float32.

        `features`: [m, k, d] of the images that the layout names; the layout is on their device.
        """
        return self.packed_decoder().losses(features, layout)

    def set_packed(self, settings: PackedSettings) -> None:
        """Choose how :meth:`packed_losses` is computed; its results stay the same."""
        self.packed = settings
        self._decoder = None

    def packed_decoder(self) -> PackedDecoder:
        """What runs the packs."""
        if self._decoder is None or self._decoder.hidden_ids != self.hidden_ids:
            self._decoder = PackedDecoder(self.lm, self.hidden_ids, self.packed)
        return self._decoder

    def sample_losses(
        self, images: Sequence[Any], texts: Sequence[str], targets: Sequence[str], add_eos: Sequence[bool]
    ) -> Tensor:
        """Mean cross-entropy over each target's tokens, text and target tokenised apart as published: [n].

        Raises DataError for lists of unequal length, for a target without tokens or without room behind its prompt.
        """
        check_lengths(images=images, texts=texts, targets=targets, add_eos=add_eos)
        features = self.image_features(self.preprocess(images))
        prompts = [self.encode_prompt(text) for text in texts]
        ids = [
            self.fit_target(prompt, self.encode_target(target, eos), features.shape[1])
            for prompt, target, eos in zip(prompts, targets, add_eos, strict=True)
        ]
        losses = self.target_losses(features, prompts, ids)
        counted = torch.zeros_like(losses)
        for line, target in zip(counted, ids, strict=True):
            line[: len(target)] = torch.tensor([float(i not in self.uncounted_ids) for i in target])
        return (losses * counted).sum(1) / counted.sum(1)

    def fit_target(self, prompt: PromptIds, target: list[int], image_tokens: int) -> list[int]:
        """The target, cut to the positions that the published code allows. Raises DataError if nothing is left."""
        room = None if self.max_positions is None else max(0, self.max_positions - prompt.length(image_tokens))
        kept = target[:room]
        if not kept:
            why = "has no tokens" if not target else f"has no room: its prompt fills the {self.max_positions} positions"
            raise DataError(f"a target for {self.name} {why}; leave the sample out")
        return kept

    # Training chosen parts

    def trainable_parameters(self, selection: str) -> dict[str, nn.Parameter]:
        """Name -> parameter of a selection: connector, lm_head, lora, decoder, all, or several joined with +.

        They take part in gradients from now on, in the dtype that they have; :meth:`set_trainable` is for training.
        `lora` puts adapters into the decoder at its first use. Raises ArgumentError for an unknown part.
        """
        chosen = select(self, selection)
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        return chosen

    def set_trainable(self, selection: str, master_dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
        """Freeze everything but the selection and turn that into masters of `master_dtype`; returns it."""
        return lay_masters(self, selection, master_dtype)

    def quantise(self, device: torch.device) -> None:
        """Turn the decoder's frozen linear layers into 4-bit ones, on `device`; see `weights/four_bit.py`."""
        quantise(self, device)
        self.set_packed(self.packed)

    def to_eight_bits(self, device: torch.device, first: int | None = None) -> None:
        """The same into 8-bit ones, from block `first` on; see `weights/eight_bit.py`."""
        to_eight_bits(self, device, first)
        self.set_packed(self.packed)

    def load_trained(self, path: Path | str) -> LoadReport:
        """Lay trained tensors over the model: a folder of ours, or a published step_*.pth.

        Raises CheckpointError if a tensor is unknown, of another shape, or none matched.
        """
        return load_trained(self, Path(path))

    def save_trained(self, folder: Path | str, names: Sequence[str]) -> None:
        """Write the named parameters and what they belong to into a folder, each file at once."""
        save_trained(self, Path(folder), names)
