"""What `auto` needs to train in packs: rows as the model's processor makes them, and what its frozen tower said.

Whether a model can be packed, and whether its tower can be left out, is tried out with one picture when it is first
asked for; what cannot is said once, with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from common.errors import DataError
from common.files.pixels import named
from common.models.anatomy import Anatomy, blocks_of
from common.models.families.raw_images import SeenImages
from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import Fit, ForeignDecoder, Hand
from common.models.packed.foreign.handing import Handed, Unpackable, is_of_tokens
from common.models.packed.foreign.layout import ForeignLayout, GivenRow, lay_out_rows
from common.models.packed.foreign.tower import Record, Tower, called_modules, narrowly, side_by_side, tower_of
from common.models.packed.foreign.trial import looks_together, try_out
from common.models.packed.layout import PackedImage
from common.models.text.ids import PromptIds
from common.progress import announce

if TYPE_CHECKING:
    from common.models.base import CaptionModel as Mixed
else:
    Mixed = object  # `Auto` brings the model itself

TRIAL = ("A picture of a dog on the grass.", "a", "A picture")  # captions
TRIAL_SIZE = (96, 64)
SIZE = "size"  # of the image, in what is kept of it
KEPT_TEXTS = 4096


def _kept_handed(tower: Tower, seen: SeenImages, images: Sequence[int], inputs: Mapping[str, Tensor]) -> Handed:
    """What the model hands to its decoder for a row with these images, its tower left out."""
    device = inputs["input_ids"].device
    return tower.hand(side_by_side([seen.records[image] for image in images], device), inputs)


def _handed_narrowly(
    hand: Hand, modules: Sequence[nn.Module], dtype: torch.dtype, images: Sequence[int], inputs: Mapping[str, Tensor]
) -> Handed:
    """What the model hands to its decoder, some modules' products in a dtype of 16 bits."""
    with narrowly(modules, dtype):
        return hand(images, inputs)


@dataclass
class TextInputs:
    """What the processor makes of a prompt beside an image of some size: ids with as many placeholders as it takes.

    The number of placeholders follows from the size of the image, not from what is on it.
    """

    made: dict[tuple[tuple[int, int], str], dict[str, Tensor]] = field(default_factory=dict)

    def note(self, size: tuple[int, int], text: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the processor's inputs that are one a token."""
        length = inputs["input_ids"].shape[1]
        found = {key: value for key, value in inputs.items() if is_of_tokens(value, length)}
        if len(self.made) >= KEPT_TEXTS:
            self.made.pop(next(iter(self.made)))
        self.made[size, text] = found
        return found


class PackingAuto(Mixed):
    """The packing side of `auto`. `processor`, `anatomy` and `trunk` are those of the model."""

    even_images: ClassVar[bool] = False

    processor: Any
    anatomy: Anatomy

    def trunk(self) -> Any:
        """The decoder, without head."""
        raise NotImplementedError

    def made_inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        """What the processor makes of images and prompts, on the CPU."""
        raise NotImplementedError

    @property
    def packs(self) -> bool:  # type: ignore[override]
        """Whether its decoder runs packs."""
        return self.fit is not None

    @property
    def sees_apart(self) -> bool:  # type: ignore[override]
        """Whether its connector can be run without its tower."""
        return self.tower is not None

    @cached_property
    def fit(self) -> Fit | None:
        """What a trial of packing has shown; None, and why is said, if it cannot be."""
        try:
            if not self.anatomy.cut_out:
                raise Unpackable("its decoder is not a module of its own")
            return try_out(self.lm, self.trunk(), *self.trial_rows())
        except Unpackable as reason:
            announce(f"{type(self.lm).__name__} cannot be packed: {reason}")
            return None

    @cached_property
    def tower(self) -> Tower | None:
        """The tower, as what can be left out; None, and why is said, if it cannot be."""
        if self.fit is None:
            return None
        blocks = [block for path in self.anatomy.towers for block in blocks_of(self.lm.get_submodule(path))]
        try:
            rows = self.trial_rows()
            tower = tower_of(self.lm, self.trunk(), self.anatomy.connector, blocks, rows[0].inputs)
            seen = SeenImages(tuple(tower.look(row.inputs) for row in rows))
            decoder = ForeignDecoder(self.lm, self.trunk(), self.fit)
            return replace(tower, together=looks_together(decoder, partial(_kept_handed, tower, seen), rows))
        except Unpackable as reason:
            announce(f"what the tower of {type(self.lm).__name__} says is not kept: {reason}")
            return None

    def tower_parameters(self) -> list[nn.Parameter]:
        """Of everything that stands before the connector."""
        towers = tuple(f"lm.{path}." for path in self.anatomy.towers)
        named = self.named_parameters()
        return [p for name, p in named if name.startswith(towers) and not name.startswith(self.connector_parts)]

    def trial_row(self) -> GivenRow:
        """A picture, a prompt and captions that are always there."""
        picture = Image.linear_gradient("L").resize(TRIAL_SIZE).convert("RGB")
        row = self.row_of(picture, self.encode_prompt(self.format_prompt("a")))
        return replace(row, branches=tuple(self.encode_caption(text).ids for text in TRIAL))

    def trial_rows(self) -> tuple[GivenRow, GivenRow]:
        """That, and one of a picture of another shape."""
        row = self.trial_row()
        picture = Image.linear_gradient("L").resize(TRIAL_SIZE[::-1]).convert("RGB")
        other = self.row_of(picture, self.encode_prompt(self.format_prompt("a")))
        return replace(row, kind=0), replace(other, image=1, branches=row.branches[::-1], kind=1)

    def row_of(self, image: Any, prompt: PromptIds) -> GivenRow:
        """What the processor makes of an image and a prompt, on the model's device."""
        inputs = self.made_inputs([image], [prompt])
        return self._row(0, {key: value.to(self.device) for key, value in inputs.items()})

    def _row(self, image: int, inputs: Mapping[str, Tensor], branches: Sequence[tuple[int, ...]] = ()) -> GivenRow:
        at = (inputs["input_ids"][0] == self.placeholder).nonzero().flatten().tolist()
        whole = (0, inputs["input_ids"].shape[1])
        return GivenRow(image, inputs, (at[0], at[-1] + 1) if at else whole, tuple(branches))

    @property
    def placeholder(self) -> int:
        """The id that stands for a vector of an image; -1, which is none, if the model does not name it."""
        return -1 if self.anatomy.placeholder is None else self.anatomy.placeholder

    # Packs

    def lay_out(
        self, pixels: Any, groups: Sequence[PackedImage], image_tokens: int, length: int, static: bool
    ) -> ForeignLayout:
        """As for every model, by rows of the processor. Images may take other numbers of tokens than was planned."""
        del image_tokens
        rows = [self._row_of_group(pixels, group) for group in groups]
        shares = self.fit is not None and self.fit.shares
        found = lay_out_rows(rows, shares)
        return lay_out_rows(rows, shares, max(length, found.tree.tokens)) if static else found

    def _row_of_group(self, pixels: Any, group: PackedImage) -> GivenRow:
        if isinstance(pixels, SeenImages):
            width, height = pixels.records[group.feature][SIZE].tolist()
            inputs: Mapping[str, Tensor] = self.text_inputs((width, height), group.prompt)
        else:
            image = pixels.images[group.feature]
            width, height = image.size
            inputs = self.made_inputs([image], [group.prompt])
        kind = (width, height, getattr(group.prompt, "text", ""))
        return replace(self._row(group.feature, inputs, group.branches), kind=kind)

    @cached_property
    def texts(self) -> TextInputs:
        """Prompts beside images of known sizes."""
        return TextInputs()

    def text_inputs(self, size: tuple[int, int], prompt: PromptIds, name: str = "") -> dict[str, Tensor]:
        """What the processor makes of a prompt beside an image of that size and name, but for the image."""
        text = getattr(prompt, "text", "")
        known = self.texts.made.get((size, text))
        if known is not None:
            return known
        return self.texts.note(size, text, self.made_inputs([named(Image.new("RGB", size), name)], [prompt]))

    def tokens_of(self, size: tuple[int, int], prompt: PromptIds, name: str = "") -> int:
        """Tokens that an image of that size takes in the prompt. Raises DataError for one that there is no room for."""
        whole: int = self.text_inputs(size, prompt, name)["input_ids"].shape[1]
        return whole - len(prompt.before) - len(prompt.after)

    def packed_losses(self, features: Any, layout: Any) -> Tensor:
        """As for every model. `features`: images, which the layout has inputs of, or what is kept of their tower.

        Raises DataError for images that do not go into one pack, which the pictures of the trial did.
        """
        try:
            return self.foreign.losses(layout, *self.handing(features))
        except Unpackable as reason:
            raise DataError(
                f"{type(self.lm).__name__} does not take these {layout.rows} captions in one pack: {reason}; lower "
                "--tokens_per_batch, so that its images stand alone"
            ) from None

    def handing(self, features: Any) -> tuple[Hand, bool]:
        """What gives the decoder's inputs for images, and whether it takes several at once."""
        if not isinstance(features, SeenImages):
            return self._by_connector(self.foreign.hand), self.foreign.fit.together
        if self.tower is None:
            raise RuntimeError("what a tower said was kept of a model whose tower cannot be left out")
        return self._by_connector(partial(_kept_handed, self.tower, features)), self.tower.together

    def _by_connector(self, hand: Hand) -> Hand:
        """The same, its connector's products as :attr:`PackedSettings.fast_connector` says."""
        if not self.packed.fast_connector or self.compute_dtype == torch.float32:
            return hand
        return partial(_handed_narrowly, hand, called_modules(self.lm, self.anatomy.connector), self.compute_dtype)

    @cached_property
    def alone(self) -> AbstractContextManager[Any]:
        """Held by a thread that runs the model in another way than its own."""
        return RLock()

    @cached_property
    def foreign(self) -> ForeignDecoder:
        """What runs the packs."""
        if self.fit is None:
            raise RuntimeError(f"{type(self.lm).__name__} cannot be packed")
        return ForeignDecoder(self.lm, self.trunk(), self.fit, self.packed, alone=self.alone)

    def set_packed(self, settings: PackedSettings) -> None:
        """As for every model."""
        super().set_packed(settings)
        self.__dict__.pop("foreign", None)

    # What the tower said

    def keep(self, pixels: Any) -> list[Record]:
        """What is kept of the tower for each image, on the CPU."""
        prompt = self.encode_prompt(self.format_prompt(""))
        with self.alone:
            return [self._kept_of(image, prompt) for image in pixels]

    def _kept_of(self, image: Any, prompt: PromptIds) -> Record:
        if self.tower is None:
            raise RuntimeError(f"the tower of {type(self.lm).__name__} cannot be left out")
        inputs = self.made_inputs([image], [prompt])
        self.texts.note(image.size, getattr(prompt, "text", ""), inputs)
        record = self.tower.look({key: value.to(self.device) for key, value in inputs.items()})
        return record | {SIZE: torch.tensor(image.size)}

    def image_settings(self) -> str:
        """The processor's own settings, and whose code runs it and the tower."""
        import transformers

        made = getattr(self.processor, "image_processor", self.processor)
        return f"{transformers.__version__} {made!r}"

    def kept(self, records: Sequence[Record]) -> Any:
        """What packs are given in place of pixels."""
        return SeenImages(tuple(records))

    def connect(self, seen: Any) -> Any:
        """The same; the connector runs with the model's own forward."""
        return seen
