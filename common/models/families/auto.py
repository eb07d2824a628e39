"""`auto`: any image-text-to-text checkpoint that transformers loads itself, through its processor and plain forward.

Image handling differs from family to family (tiles, grids, placeholders in the text), so nothing is cut apart here:
what the trainer passes along as pixels and features are the images themselves, and each row is one plain forward.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from common.errors import ArgumentError, CheckpointError, DataError, UserError, first_line
from common.files.json_text import shown
from common.files.pixels import to_rgb
from common.models.anatomy import Anatomy, dissect, placeholder_id
from common.models.base import CaptionModel
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.families.auto_files import load_processor, load_weights
from common.models.families.auto_packs import PackingAuto
from common.models.families.auto_trees import GrowingAuto
from common.models.families.model_check import check_generates, check_logits, check_weights
from common.models.families.processor_check import check_loaded_processor, check_placeholders
from common.models.families.raw_images import RawImages, TextPrompt
from common.models.generation.decoding import Decoding
from common.models.generation.plain import by_transformers
from common.models.packed.foreign.handing import with_tail
from common.models.packed.foreign.layers import computed_again
from common.models.packed.foreign.masks import layers_as
from common.models.packed.head_losses import token_losses
from common.models.parts.preprocess import Preprocessing
from common.models.text.ids import PromptIds
from common.models.text.sequence import check_lengths
from common.models.text.thoughts import MARKS, after_thought, closed
from common.models.text.tokenizers import FastTokenizer
from common.paths import display
from common.progress import announce

SWITCHES = ("enable_thinking", "thinking")  # as templates call them
FIRST_WORDS = 3  # ids of a text among which a thought begins
MOST_PIXELS = 4096 * 4096  # kept of an image while its batch is gathered


class Auto(PackingAuto, GrowingAuto, CaptionModel):
    """A model of transformers' image-text-to-text kind; `lm` is the whole of it."""

    name = "auto"
    template = ""
    plainly: Mapping[str, bool] = MappingProxyType({})  # the template's switches for answers without a thought
    batches: bool = True  # whether processor and model take several images at once
    nested: bool = True  # whether the processor is given a list of images for each text
    begins_of_thoughts: frozenset[int] = frozenset()
    ends_of_thoughts: frozenset[int] = frozenset()
    image_tokens: int | None = None  # of the first image that was seen
    thought_alone: bool = False  # whether a text was met that is no more

    @classmethod
    def load(cls, path: Path | None, device: torch.device, dtype: torch.dtype, **settings: Any) -> CaptionModel:
        """Load model and processor.

        Args:
            settings: trust_remote_code, whether code that comes with the checkpoint may run.

        Raises CheckpointError and MissingDependencyError as :func:`load_processor` and :func:`load_weights`.
        """
        trust = bool(settings.get("trust_remote_code", False))
        folder = path or Path()
        processor = load_processor(folder, trust)
        lm, missing = load_weights(folder, dtype, trust)
        check_generates(lm, display(folder))
        check_weights(lm, missing, display(folder))
        check_loaded_processor(processor, lm.config, display(folder))
        return cls.around(lm.to(device), processor, path)

    @classmethod
    def around(cls, lm: Any, processor: Any, path: Path | None) -> Auto:
        """The adapter of a loaded model and its processor. Raises CheckpointError if they do not fit together."""
        tokenizer = FastTokenizer(processor.tokenizer, path or Path())
        layout = KeyMap((rename("{}", "lm.{}"),))
        model = cls(nn.Identity(), nn.Identity(), lm, tokenizer, Preprocessing(1, 1), layout, path)
        model.processor = processor
        model.stop_ids |= frozenset(_stops(lm.generation_config.eos_token_id, display(path or "")))
        model.plainly = plain_switches(processor.chat_template)
        ids = [frozenset(map(tokenizer.id_of, marks)) - {tokenizer.unk_id} for marks in zip(*MARKS, strict=True)]
        model.begins_of_thoughts, model.ends_of_thoughts = ids
        model.anatomy = found = model.try_out(display(path or ""))
        model.connector_parts = tuple(map(model.prefix, found.connector))
        model.decoder_parts = (model.prefix(found.decoder), model.prefix(found.head))
        model.decoder_layers = model.prefix(found.decoder) + "layers."
        return model

    def prefix(self, path: str) -> str:
        """How the names of a part's parameters begin in the adapter; `path`: of the part in the model."""
        whole = f"lm.{path}"
        return whole if path in dict(self.lm.named_parameters()) else f"{whole}.".replace("..", ".")

    def try_out(self, where: str) -> Anatomy:
        """One image and one prompt through processor and model, which may disagree in more ways than can be listed.

        Raises CheckpointError with what they say.
        """
        prompt, image = self.encode_prompt(self.format_prompt("a")), Image.new("RGB", (64, 64))
        refused: Exception | None = None
        for self.nested in (True, False):
            try:
                inputs = self._inputs([image], [prompt])
                found = dissect(self.lm, inputs)
                check_logits(self.lm, inputs, found.tokens, where)
                return found
            except (torch.OutOfMemoryError, CheckpointError):
                raise
            except Exception as error:  # theirs, of any kind
                refused = error if refused is None or "ested" in str(refused) else refused
        assert refused is not None
        check_placeholders(self.processor, self.lm.config, where)
        raise CheckpointError(
            f"processor and model of {where} do not fit together: {first_line(refused)}; compare "
            "processor_config.json and config.json with the release"
        )

    def train(self, mode: bool = True) -> Auto:
        """Never in training mode, as families differ in what would then be dropped, but for low-rank adapters."""
        nn.Module.train(self, False)
        for path, module in self.named_modules():
            if path.endswith(".lora_dropout"):
                module.train(mode)
        return self

    def lora_host(self) -> nn.Module:
        """The language model, without the encoder."""
        host: nn.Module = self.trunk()
        return host

    def parts_hint(self) -> str:
        """What was found of this model."""
        found = self.anatomy
        return (
            f": {type(self.lm).__name__} has {_listed('towers', found.towers)}, {_listed('connector', found.connector)}"
            f" and the decoder {found.decoder or 'not apart'}; train --trainable lora"
        )

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The processor's chat template around image and prompt, up to where an answer without a thought begins.

        Raises CheckpointError for a template that fails.
        """
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        turns = [{"role": "user", "content": content}]
        try:
            text: str = self.processor.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False, **self.plainly
            )
        except Exception as error:  # whatever a template raises
            raise CheckpointError(
                f"the chat template of {display(self.source or '')} fails on a picture with a question: "
                f"{first_line(error)}; it must take a turn's content as a list of parts, image and text"
            ) from None
        text = closed(text)
        return f"{text} {context}" if context else text

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as clean text, without the thought before it; "" for a thought that has no end, and says so."""
        ends = [place for place, i in enumerate(ids) if i in self.ends_of_thoughts]
        words = super().decode(ids[ends[-1] + 1 :] if ends else ids)
        begun = not ends and any(i in self.begins_of_thoughts for i in ids[:FIRST_WORDS])
        said = "" if begun else after_thought(words)
        if words.strip() and not said and not self.thought_alone:
            announce("a text is a thought without an end, and empty without it; give more --max_new_tokens")
            self.thought_alone = True
        return said

    def preprocess(self, images: Sequence[Any]) -> Any:
        """The images themselves. Raises DataError for one with a zero side."""
        for image in images:
            if 0 in image.size:
                raise DataError(f"an image of {image.width}x{image.height} pixels has a zero side; leave it out")
        return RawImages(tuple(to_rgb(image) for image in images), self.device)

    def reduced(self, image: Any) -> Any:
        """The image, halved until it has at most 4096x4096 pixels: more than any processor keeps."""
        while image.width * image.height > MOST_PIXELS:
            image = image.reduce(2)
        return image

    def image_features(self, pixels: Any) -> Any:
        """The images themselves; the encoder runs inside the model's own forward."""
        if self.image_tokens is None and len(pixels):
            prompt = self.encode_prompt(self.format_prompt(""))
            self.image_tokens = self.tokens_of(pixels.images[0].size, prompt)
        hidden = self.lm.get_input_embeddings().weight.shape[1]
        return replace(pixels, tokens=self.image_tokens or 0, hidden=hidden)

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:  # noqa: ARG002
        """The text, kept until its image is known; the ids are those around its placeholder, or all behind it."""
        ids = self.tokenizer.encode(text)
        placeholder = placeholder_id(self.lm.config)
        at = ids.index(placeholder) if placeholder in ids else None
        before, after = ((), tuple(ids)) if at is None else (tuple(ids[:at]), tuple(ids[at + 1 :]))
        return TextPrompt(before, after, text)

    def target_losses(self, features: Any, prompts: Sequence[PromptIds], targets: Sequence[Sequence[int]]) -> Tensor:
        """As for every model, one plain forward a row: [n, longest target], 0 past each end."""
        rows = [
            self._row_losses(image, prompt, target)
            for image, prompt, target in zip(features, prompts, targets, strict=True)
        ]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _row_losses(self, image: Any, prompt: PromptIds, target: Sequence[int]) -> Tensor:
        if not target:
            return torch.zeros(0, device=self.device)
        inputs = self._inputs([image], [prompt])
        ids = torch.tensor([list(target)], device=self.device)
        layers = self._layers_again()
        with layers_as(layers, computed_again(layers)):
            logits = self.lm(**with_tail(inputs, ids), use_cache=False).logits[0]
        return token_losses(logits[-len(target) - 1 : -1], ids[0])

    def _layers_again(self) -> list[nn.Module]:
        """The decoder's layers whose activations are not kept. Raises ArgumentError if they are not to be found."""
        if not self.packed.recompute or not self.anatomy.cut_out:
            return []
        layers = getattr(self.trunk(), "layers", None)
        if not isinstance(layers, nn.ModuleList):
            raise ArgumentError(
                f"--gradient_checkpointing is not for {type(self.lm).__name__}, whose decoder is no list of layers"
            )
        return list(layers)

    def sample_losses(
        self, images: Sequence[Any], texts: Sequence[str], targets: Sequence[str], add_eos: Sequence[bool]
    ) -> Tensor:
        """Mean cross-entropy over each target's tokens, text and target tokenised apart: [n]."""
        check_lengths(images=images, texts=texts, targets=targets, add_eos=add_eos)
        ids = [self.encode_target(target, eos) for target, eos in zip(targets, add_eos, strict=True)]
        prompts = [self.encode_prompt(text) for text in texts]
        losses = self.target_losses(self.preprocess(images), prompts, ids)
        return losses.sum(1) / torch.tensor([len(target) for target in ids], device=losses.device)

    def features_of(self, images: Iterable[Callable[[], Any]]) -> Iterator[Any]:
        """The images themselves, opened when they are needed."""
        for open_image in images:
            image = open_image()
            yield None if image is None else self.preprocess([image]).images[0]

    def trunk(self) -> Any:
        """The language model, without encoder and head."""
        return self.lm.get_submodule(self.anatomy.decoder)

    @torch.no_grad()
    def continue_batch(
        self, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, names: Sequence[str]
    ) -> list[list[int]]:
        """New ids of a left-padded batch; `features`: the images themselves.

        Rows are continued one by one where processor or model take no batch of several images, which is said.
        """
        if len(prompts) > 1 and self.batches:
            try:
                return self._continued(features, prompts, decoding, names)
            except (UserError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # theirs, of any kind; a fault of another kind is met again below
                announce(f"rows are continued one by one: {first_line(error)}")
                self.batches = False
        rows = zip(features, prompts, names, strict=True)
        try:
            return [self._continued([image], [prompt], decoding, [name])[0] for image, prompt, name in rows]
        except (UserError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # as above
            beams = f" with {decoding.num_beams} beams; try --generate_num_beams 1" if decoding.num_beams > 1 else ""
            raise ArgumentError(
                f"transformers' own generate fails for {type(self.lm).__name__}: {first_line(error)}{beams}"
            ) from None

    def _continued(
        self, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, names: Sequence[str]
    ) -> list[list[int]]:
        inputs = self._inputs(list(features), prompts)
        pad = self.processor.tokenizer.pad_token_id
        return by_transformers(self.lm, inputs, decoding, self.stop_ids, names, self.eos_id if pad is None else pad)

    def _inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        return {key: value.to(self.device) for key, value in self.made_inputs(images, prompts).items()}

    def made_inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        """What the processor makes of an image and a prompt each, on the CPU.

        Raises DataError for an image and a text that it does not take.
        """
        texts = [prompt.text for prompt in prompts if isinstance(prompt, TextPrompt)]
        given = [[image] for image in images] if self.nested else list(images)
        options: dict[str, Any] = {"padding": True, "padding_side": "left"} if len(texts) > 1 else {}
        start = self.processor.tokenizer.bos_token
        if start and all(text.startswith(start) for text in texts):
            options["add_special_tokens"] = False  # the template has written it already
        if "mm_token_type_ids" in inspect.signature(self.lm.forward).parameters:
            options["return_mm_token_type_ids"] = True  # some processors leave it out where nobody asks
        try:
            made = self.processor(text=texts, images=given, return_tensors="pt", **options)
        except Exception as error:  # theirs, of any kind
            if len(images) > 1:
                raise  # rows are tried one by one
            raise DataError(
                f"{type(self.processor).__name__} takes no image of {images[0].width}x{images[0].height} pixels with "
                f"this text: {first_line(error)}"
            ) from None
        self._check_room(made["input_ids"].shape[1], images)
        dtype = self.compute_dtype
        kept = {key: value for key, value in made.items() if isinstance(value, Tensor) and key != "labels"}
        return {key: value.to(dtype) if value.is_floating_point() else value for key, value in kept.items()}

    def _check_room(self, tokens: int, images: Sequence[Any]) -> None:
        """Raise DataError for an image that the processor cuts into more tokens than the model has positions for."""
        most = getattr(self.lm.config.get_text_config(), "max_position_embeddings", None)
        if isinstance(most, int) and tokens > most:
            widest = max(images, key=lambda image: image.width * image.height)
            raise DataError(
                f"an image of {widest.width}x{widest.height} pixels and its prompt take {tokens} tokens, and the model "
                f"has {most} positions; lower the size in the processor's configuration, or leave the image out"
            )


def _stops(said: Any, where: str) -> list[int]:
    """End symbols of a generation config. Raises CheckpointError for what is no id and no list of ids."""
    stops = [] if said is None else said if isinstance(said, list) else [said]
    if not all(isinstance(stop, int) for stop in stops):
        raise CheckpointError(f"{where}: eos_token_id {shown(said)} in generation_config.json is no id of a token")
    return stops


def plain_switches(template: Any) -> dict[str, bool]:
    """The variables with which a chat template is told that no thought is wanted."""
    said = " ".join(template.values()) if isinstance(template, Mapping) else str(template)
    return {name: False for name in SWITCHES if re.search(rf"\b{name}\b", said)}


def _listed(what: str, paths: Sequence[str]) -> str:
    return f"the {what} {', '.join(paths)}" if paths else f"no {what}"
