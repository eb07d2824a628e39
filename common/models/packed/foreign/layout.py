"""A pack for a model whose own processor makes its inputs: the tree of tokens, and the plain row of each image.

Row: what the model would be given for the image, its prompt and the first caption, with what the others add behind.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.models.packed.branches import Branches, fed_tokens
from common.models.packed.foreign.masks import Stretch
from common.models.packed.layout import PackedImage, PackLayout, lay_out
from common.models.text.ids import PromptIds


@dataclass(frozen=True)
class GivenRow:
    """An image and a prompt as the model's own processor makes them, and captions.

    Attributes:
        image: which image of the pack it is.
        inputs: of the processor, for this image and prompt alone; input_ids is [1, t].
        image_at: first and last image token in the ids, end exclusive.
        branches: target ids of each caption.
        kind: rows of one kind have the same ids before their captions and the same positions; None: of its own.
    """

    image: int
    inputs: Mapping[str, Tensor]
    image_at: tuple[int, int]
    branches: tuple[tuple[int, ...], ...]
    kind: Hashable = None


@dataclass(frozen=True)
class ForeignLayout:
    """What a step needs to know of a pack.

    Attributes:
        tree: where everything stands; images take as many tokens as their rows say.
        inputs: of each row, in the order of the pack, without captions; tails: [1, k] what is fed of the captions, in
            the tree's order.
        image_of: which image each row looks at; kinds: see :class:`GivenRow`.
        skipped: tokens of each row that an earlier one has already.
        stretches: where each row stands.
        longest: tokens of each row up to the end of its longest caption.
    """

    tree: PackLayout
    inputs: tuple[Mapping[str, Tensor], ...]
    tails: tuple[Tensor, ...]
    image_of: tuple[int, ...]
    skipped: tuple[int, ...]
    stretches: tuple[Stretch, ...]
    longest: tuple[int, ...]
    kinds: tuple[Hashable, ...]

    @property
    def rows(self) -> int:
        """Captions."""
        return self.tree.rows

    def to(self, device: torch.device) -> ForeignLayout:
        """The same on a device; does not wait for copies from page-locked memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True), self.tree.to(device))

    def pin_memory(self) -> ForeignLayout:
        """The same in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory(), self.tree.pin_memory())

    def _each(self, change: Any, tree: PackLayout) -> ForeignLayout:
        inputs = tuple({key: change(value) for key, value in row.items()} for row in self.inputs)
        return replace(self, tree=tree, inputs=inputs, tails=tuple(map(change, self.tails)))


def lay_out_rows(rows: Sequence[GivenRow], shares: bool, length: int | None = None) -> ForeignLayout:
    """Lay rows into one sequence.

    Args:
        shares: whether images may share the tokens before them, where these are equal.
        length: positions to pad to.

    Raises ValueError as :func:`common.models.packed.layout.lay_out`.
    """
    prompts = [_prompt(row, shares) for row in rows]
    images = [
        PackedImage(number, prompt, row.branches, _own(row, prompt))
        for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True))
    ]
    tree = lay_out(images, 0, length)
    order = tree.feature.tolist()  # images of one beginning stand together
    skipped, stretches = _stretches([rows[number] for number in order], [prompts[number] for number in order])
    return ForeignLayout(
        tree=tree,
        inputs=tuple(rows[number].inputs for number in order),
        tails=tuple(_tail(rows[number]) for number in order),
        image_of=tuple(rows[number].image for number in order),
        skipped=skipped,
        stretches=stretches,
        kinds=tuple(rows[number].kind for number in order),
        longest=tuple(_length(rows[n]) + max((len(b) - 1 for b in rows[n].branches), default=0) for n in order),
    )


def _length(row: GivenRow) -> int:
    return row.inputs["input_ids"].shape[1]


def _prompt(row: GivenRow, shares: bool) -> PromptIds:
    ids = row.inputs["input_ids"][0].tolist()
    start, end = row.image_at if shares else (0, row.image_at[1])
    return PromptIds(tuple(ids[:start]), tuple(ids[end:]))


def _own(row: GivenRow, prompt: PromptIds) -> int:
    """Tokens between the shared text before the image and the text after it."""
    return _length(row) - len(prompt.before) - len(prompt.after)


def _tail(row: GivenRow) -> Tensor:
    return torch.tensor([Branches.of(row.branches).ids], dtype=torch.long)


def _stretches(rows: Sequence[GivenRow], prompts: Sequence[PromptIds]) -> tuple[tuple[int, ...], tuple[Stretch, ...]]:
    """Tokens of each row that are there already, and where it stands."""
    begun: dict[tuple[int, ...], tuple[int, int]] = {}
    skipped, stretches, end = [], [], 0
    for row, prompt in zip(rows, prompts, strict=True):
        shared = len(prompt.before)
        known = prompt.before in begun
        beginning = begun.setdefault(prompt.before, (end, end + shared))
        start = end if known else end + shared
        end = start + _length(row) - shared + fed_tokens(row.branches)
        skipped.append(shared if known else 0)
        stretches.append(Stretch(beginning, (start, end)))
    return tuple(skipped), tuple(stretches)
