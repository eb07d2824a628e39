"""`auto`: any image-text-to-text checkpoint that transformers loads itself, through its processor and plain forward.

Image handling differs from family to family (tiles, grids, placeholders in the text), so nothing is cut apart here:
what the trainer passes along as pixels and features are the images themselves, and each row is one plain forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from common.errors import ArgumentError, CheckpointError, DataError, first_line
from common.files.json_text import shown
from common.files.pixels import name_of, to_rgb
from common.models.anatomy import Anatomy, dissect
from common.models.base import CaptionModel
from common.models.checkpoints.key_maps import KeyMap, rename
from common.models.families.auto_files import lacking, load_processor, load_weights
from common.models.families.auto_generate import GeneratingAuto
from common.models.families.auto_packs import PackingAuto
from common.models.families.auto_rows import ProcessingAuto
from common.models.families.auto_trees import GrowingAuto
from common.models.families.checks.model_check import check_generates, check_logits, check_weights
from common.models.families.checks.processor_check import check_loaded_processor, check_placeholders
from common.models.families.raw_images import RawImages
from common.models.packed.foreign.handing import with_tail
from common.models.packed.foreign.layers import computed_again
from common.models.packed.foreign.masks import layers_as
from common.models.packed.head_losses import token_losses
from common.models.parts.preprocess import Preprocessing
from common.models.text.ids import PromptIds
from common.models.text.sequence import check_lengths
from common.models.text.tokenizers import FastTokenizer
from common.paths import display

MOST_PIXELS = 4096 * 4096  # kept of an image while its batch is gathered


class Auto(ProcessingAuto, PackingAuto, GrowingAuto, GeneratingAuto, CaptionModel):
    """A model of transformers' image-text-to-text kind; `lm` is the whole of it."""

    name = "auto"
    template = ""
    image_tokens: int | None = None  # of the first image that was seen

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
        model.set_processor(processor, tokenizer)
        model.stop_ids |= frozenset(_stops(lm.generation_config.eos_token_id, display(path or "")))
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
        self.check_template(image)
        check_placeholders(self.processor, self.lm.config, where)
        raise CheckpointError(
            f"processor and model of {where} do not fit together: {first_line(refused)}; compare "
            f"processor_config.json and config.json with the release{lacking(self.source)}"
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
            first = pixels.images[0]
            self.image_tokens = self.tokens_of(first.size, prompt, name_of(first))
        hidden = self.lm.get_input_embeddings().weight.shape[1]
        return replace(pixels, tokens=self.image_tokens or 0, hidden=hidden)

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


def _stops(said: Any, where: str) -> list[int]:
    """End symbols of a generation config. Raises CheckpointError for what is no id and no list of ids."""
    stops = [] if said is None else said if isinstance(said, list) else [said]
    if not all(isinstance(stop, int) for stop in stops):
        raise CheckpointError(f"{where}: eos_token_id {shown(said)} in generation_config.json is no id of a token")
    return stops


def _listed(what: str, paths: Sequence[str]) -> str:
    return f"the {what} {', '.join(paths)}" if paths else f"no {what}"
