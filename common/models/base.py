"""The one shape of all published models: vision encoder -> connector -> decoder, and everything that follows from it.

An adapter says how its files map to these three modules, how images and texts are cut, and what is seen of the encoder;
losses, batched generation, training of chosen parts and checkpoints of them are here.
Shapes: n samples, m image tokens, d hidden size of the decoder.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.models.body import ModelBody
from common.models.checkpoints.key_maps import KeyMap
from common.models.generation.asking import Asked, Said, chunks, same_objects, sample_names
from common.models.generation.decoding import Decoding
from common.models.generation.growing import grow
from common.models.generation.plain import by_transformers, in_batches
from common.models.generation.tree.llama import why_not
from common.models.lanes import ahead
from common.models.packed.decoder import PackedDecoder, PackedSettings
from common.models.packed.head_losses import token_losses
from common.models.packed.layout import PackedImage, PackLayout, lay_out
from common.models.parts.preprocess import Preprocessing
from common.models.text.ids import PromptIds
from common.models.text.sequence import attention_mask, check_lengths, embed_rows, pad_rows, target_table
from common.models.text.text_side import TextSide
from common.models.text.tokenizers import TextTokenizer
from common.models.weights.eight_bit import to_eight_bits
from common.models.weights.four_bit import quantise
from common.models.weights.selection import lay_masters, select
from common.models.weights.trained import LoadReport, load_trained, save_trained

__all__ = ["CaptionModel", "Decoding", "LoadReport", "PackedSettings"]

SEEN_TOGETHER = 16  # images in one pass of the encoder
AHEAD = 64  # images that are opened before they are needed
MOST_THREADS = 4  # that open them: more would hold up the thread that tells the GPU what to do
SEEN = "seen"  # what is kept of the tower: [k, hidden size of the tower]


class CaptionModel(TextSide, ModelBody):
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

    def tokens_of(self, size: tuple[int, int], prompt: PromptIds) -> int:
        """Tokens that an image of (width, height) takes in a prompt, where they differ (`even_images`)."""
        raise NotImplementedError

    def connect(self, seen: Tensor) -> Tensor:
        """Run the connector and return in the dtype of the decoder's activations.

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

    # Generation

    def generate(
        self,
        images: Sequence[Any],
        texts: Sequence[str],
        num_beams: int = 1,
        max_new_tokens: int = 200,
        length_penalty: float = 0.0,
        **sampling: Any,
    ) -> list[str]:
        """Texts that the model gives for (image, text input) pairs; see :meth:`generate_ids`."""
        ids = self.generate_ids(images, texts, num_beams, max_new_tokens, length_penalty, **sampling)
        return [self.decode(row) for row in ids]

    def generate_ids(
        self,
        images: Sequence[Any],
        texts: Sequence[str],
        num_beams: int = 1,
        max_new_tokens: int = 200,
        length_penalty: float = 0.0,
        **sampling: Any,
    ) -> list[list[int]]:
        """New token ids of each sample, end symbol included where it was produced.

        Texts of one image (one and the same object) share the work for it.

        Args:
            sampling: do_sample, temperature, top_p, seed. With a seed, a sample depends on it, on its image and
                text, and on how many times that pair stood before it; on nothing else of the call.
        """
        check_lengths(images=images, texts=texts)
        if not texts:
            return []
        decoding = Decoding(num_beams, max_new_tokens, length_penalty, **sampling)
        names = sample_names(images, texts) if decoding.do_sample else [""] * len(texts)
        prompts = [self.encode_prompt(text, for_generation=True) for text in texts]
        places = same_objects(images)
        questions = [Asked(tuple(prompts[i] for i in some), tuple(names[i] for i in some)) for some in places]
        found: list[list[int]] = [[] for _ in texts]
        for said in self.answers(
            questions, self.features_of([partial(_given, images[some[0]]) for some in places]), decoding
        ):
            found[places[said.asked][said.place]] = said.ids
        return found

    def speak(
        self,
        images: Sequence[Callable[[], Any]],
        texts: Sequence[Sequence[str]],
        names: Sequence[Sequence[str]],
        decoding: Mapping[str, Any],
        most: int | None = None,
    ) -> Iterator[tuple[int, int, str]]:
        """Say something to every text about every image: (image, text, what was said), as answers end.

        Args:
            images: functions that open them, called ahead of time, perhaps in threads; None is an image that cannot be
                seen, and nothing is said about it.
            texts: whole text inputs about each image; names: of each, for the random numbers of a sample.
            decoding: of :class:`Decoding`.
            most: answers that are made at a time; None: as many as are useful and fit into the memory.
        """
        encode = functools.cache(lambda text: self.encode_prompt(text, for_generation=True))
        questions = [Asked(tuple(map(encode, t)), tuple(n)) for t, n in zip(texts, names, strict=True)]
        for said in self.answers(questions, self.features_of(images), Decoding(**decoding), most):
            yield said.asked, said.place, self.decode(said.ids)

    def features_of(self, images: Iterable[Callable[[], Any]]) -> Iterator[Any]:
        """Features [m, d] of each image that is opened; None stays None.

        The encoder sees several at a time. On a GPU threads open these, cut them to size and lay them side by side
        while it works, and neither waits for the other.
        """
        gpu = self.device.type == "cuda"

        def look(some: list[Callable[[], Any]]) -> tuple[list[bool], Tensor | None]:
            opened = [open_image() for open_image in some]
            seen = [image for image in opened if image is not None]
            there = [image is not None for image in opened]
            if not seen:
                return there, None
            pixels = self.preprocess(seen).to(self.compute_dtype)
            return there, pixels.pin_memory() if gpu else pixels

        threads = min(MOST_THREADS, os.cpu_count() or 1) if gpu else 0
        for there, pixels in ahead(look, chunks(images, SEEN_TOGETHER), threads, AHEAD // SEEN_TOGETHER):
            features = iter(() if pixels is None else self.image_features(pixels))
            yield from (next(features) if seen else None for seen in there)

    @torch.no_grad()
    def continue_ids(self, features: Tensor, prompts: Sequence[PromptIds], decoding: Decoding) -> list[list[int]]:
        """As :meth:`generate_ids`, from [n, m, d] image features; samples are named by their rows."""
        questions = [Asked((prompt,), (str(row),)) for row, prompt in enumerate(prompts)]
        found: list[list[int]] = [[] for _ in prompts]
        for said in self.answers(questions, features, decoding):
            found[said.asked] = said.ids
        return found

    def answers(
        self, questions: Sequence[Asked], features: Iterable[Any], decoding: Decoding, most: int | None = None
    ) -> Iterator[Said]:
        """Answers to all prompts, in the order in which they end.

        Args:
            features: of each question's image, taken when there is room; None: no answer to it.
            most: answers that are made at a time; None: as many as are useful and fit into the memory.

        Raises ResourceError if not even one image fits into the memory, ArgumentError for samples of beams.
        """
        if why_not(self.lm.model) is None:
            trunk, head = self.lm.model, self.lm.get_output_embeddings()
            return grow(trunk, head, questions, features, decoding, self.stop_ids, most)
        return in_batches(self.continue_batch, questions, features, decoding, most)

    @torch.no_grad()
    def continue_batch(
        self, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, names: Sequence[str]
    ) -> list[list[int]]:
        """New ids of one batch by transformers' own `generate`; rows are left-padded.

        `features`: [m, d] of each row; `names`: of the rows' samples.
        """
        rows = embed_rows(self.lm.get_input_embeddings(), features, prompts, [()] * len(prompts))
        embeds, mask = pad_rows(rows, left=True)
        inputs = {"inputs_embeds": embeds, "attention_mask": mask}
        return by_transformers(self.lm, inputs, decoding, self.stop_ids, names)

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


def _given(image: Any) -> Any:
    return image
