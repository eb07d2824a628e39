"""What `auto` needs to train in packs: rows as the model's processor makes them, and what its frozen tower said.

Whether a model can be packed, and whether its tower can be left out, is tried out with one picture when it is first
asked for; what cannot is said once, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from common.models.anatomy import Anatomy, blocks_of
from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import Fit, ForeignDecoder, try_out
from common.models.packed.foreign.handing import Handed, Unpackable
from common.models.packed.foreign.layout import ForeignLayout, GivenRow, lay_out_rows
from common.models.packed.foreign.tower import Record, Tower, tower_of
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


@dataclass(frozen=True)
class SeenImages:
    """What is kept of the tower for each image, in place of pixels and features."""

    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def to(self, device: torch.device | str) -> SeenImages:
        """The same; what is kept is moved when it is used."""
        del device
        return self

    def pin_memory(self) -> SeenImages:
        """The same in page-locked memory."""
        return SeenImages(tuple({key: value.pin_memory() for key, value in r.items()} for r in self.records))


@dataclass
class TextInputs:
    """What the processor makes of a prompt beside an image of some size: ids with as many placeholders as it takes.

    The number of placeholders follows from the size of the image, not from what is on it.
    """

    made: dict[tuple[tuple[int, int], str], dict[str, Tensor]] = field(default_factory=dict)

    def note(self, size: tuple[int, int], text: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the processor's inputs that are one a token."""
        length = inputs["input_ids"].shape[1]
        found = {key: value for key, value in inputs.items() if value.shape == (1, length)}
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
            return try_out(self.lm, self.trunk(), self._trial_row())
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
            row = self._trial_row()
            return tower_of(self.lm, self.trunk(), self.anatomy.connector, blocks, row.inputs)
        except Unpackable as reason:
            announce(f"what the tower of {type(self.lm).__name__} says is not kept: {reason}")
            return None

    def tower_parameters(self) -> list[nn.Parameter]:
        """Of everything that stands before the connector."""
        towers = tuple(f"lm.{path}." for path in self.anatomy.towers)
        named = self.named_parameters()
        return [p for name, p in named if name.startswith(towers) and not name.startswith(self.connector_parts)]

    def _trial_row(self) -> GivenRow:
        picture = Image.linear_gradient("L").resize(TRIAL_SIZE).convert("RGB")
        inputs = self.made_inputs([picture], [self.encode_prompt(self.format_prompt("a"))])
        row = self._row(0, {key: value.to(self.device) for key, value in inputs.items()})
        return GivenRow(0, row.inputs, row.image_at, tuple(self.encode_caption(text).ids for text in TRIAL))

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
        rows = [self._row(g.feature, self._inputs_of(pixels, g), g.branches) for g in groups]
        shares = self.fit is not None and self.fit.shares
        found = lay_out_rows(rows, shares)
        return lay_out_rows(rows, shares, max(length, found.tree.tokens)) if static else found

    def _inputs_of(self, pixels: Any, group: PackedImage) -> Mapping[str, Tensor]:
        if isinstance(pixels, SeenImages):
            width, height = pixels.records[group.feature][SIZE].tolist()
            return self.text_inputs((width, height), group.prompt)
        return self.made_inputs([pixels.images[group.feature]], [group.prompt])

    @cached_property
    def texts(self) -> TextInputs:
        """Prompts beside images of known sizes."""
        return TextInputs()

    def text_inputs(self, size: tuple[int, int], prompt: PromptIds) -> dict[str, Tensor]:
        """What the processor makes of a prompt beside an image of that size, but for the image."""
        text = getattr(prompt, "text", "")
        known = self.texts.made.get((size, text))
        if known is not None:
            return known
        return self.texts.note(size, text, self.made_inputs([Image.new("RGB", size)], [prompt]))

    def tokens_of(self, size: tuple[int, int], prompt: PromptIds) -> int:
        """Tokens that an image of that size takes in the prompt."""
        whole: int = self.text_inputs(size, prompt)["input_ids"].shape[1]
        return whole - len(prompt.before) - len(prompt.after)

    def packed_losses(self, features: Any, layout: Any) -> Tensor:
        """As for every model. `features`: images, which the layout has inputs of, or what is kept of their tower."""
        hand = partial(self._hand, features) if isinstance(features, SeenImages) else None
        return self.foreign.losses(layout, hand)

    def _hand(self, seen: SeenImages, image: int, inputs: Mapping[str, Tensor]) -> Handed:
        if self.tower is None:
            raise RuntimeError("what a tower said was kept of a model whose tower cannot be left out")
        return self.tower.hand(seen.records[image], inputs)

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
