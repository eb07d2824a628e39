"""Several captions of several images in one sequence, each token stored once: a tree laid out depth first.

    text before the image | image 1, text after it | caption | caption | image 2, text after it | caption | padding

The text before the image never sees it (attention is causal), so images that share it share its tokens; captions of
one image share its tokens, the prompt, and what they begin with. Depth first, what a token is seen by is one interval:
from itself to the end of the part of the tree below it. That one number a token is the whole attention mask. Position
ids are those of the row that a caption would have alone, so its losses and gradients are, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from common.models.packed.branches import Branches
from common.models.text.ids import PromptIds

NO_WORD = -1  # in `PackLayout.ids`: an image token, or padding


@dataclass(frozen=True)
class PackedImage:
    """One image with one prompt and captions of it.

    Attributes:
        feature: row of the features [m, k, d] that this group looks at.
        branches: target ids, each at least one token.
        tokens: of the image; None: as many as every image has.
    """

    feature: int
    prompt: PromptIds
    branches: tuple[tuple[int, ...], ...]
    tokens: int | None = None


@dataclass(frozen=True)
class PackLayout:
    """Everything that a step needs to know of a pack, as index tensors: nothing of it is read back from a device.

    Sizes: t positions (padding included), g images of m tokens, q predicting positions, p predictions, n target tokens.

    Attributes:
        ids: int64 [t], token ids; `NO_WORD` where none stands.
        positions: int64 [t], position ids.
        until: int32 [t]; the token at i is seen by those at i .. until[i] - 1.
        image_at: int64 [g * m], where image tokens stand; feature: int64 [g], whose features.
        queries: int64 [q], positions whose hidden states predict a target token, ascending. With a static length
            their number is one of few; the last is then repeated.
        asked: int64 [p], place in `queries` that predicts a target token; targets: int64 [p], its id. Captions that
            begin alike have these predictions in common.
        pick: int64 [n], which of the predictions a target token is; slot: int64 [n], its place in the flattened table
            of losses.
        rows, longest: size of that table: branches, and their longest target.
        tokens: real ones.
    """

    ids: Tensor
    positions: Tensor
    until: Tensor
    image_at: Tensor
    feature: Tensor
    queries: Tensor
    asked: Tensor
    targets: Tensor
    pick: Tensor
    slot: Tensor
    rows: int
    longest: int
    tokens: int

    @property
    def length(self) -> int:
        """Positions of the sequence, padding included."""
        return len(self.ids)

    def table(self, losses: Tensor) -> Tensor:
        """Losses of the predictions [p] -> [rows, longest target], 0 past each end."""
        empty = losses.new_zeros(self.rows * self.longest)
        return empty.index_copy(0, self.slot, losses[self.pick]).view(self.rows, self.longest)

    def to(self, device: torch.device) -> PackLayout:
        """The same on a device; does not wait for copies from page-locked memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> PackLayout:
        """The same in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Any) -> PackLayout:
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: change(value) for name, value in tensors.items() if isinstance(value, Tensor)})


def static_size(count: int) -> int:
    """The next multiple of 128, and of a quarter of the power of 2 below it: few sizes, as each is compiled apart."""
    step = max(128, 1 << max(0, (count - 1).bit_length() - 3))
    return -(-count // step) * step


def lay_out(images: Sequence[PackedImage], image_tokens: int, length: int | None = None) -> PackLayout:
    """Lay image groups into one sequence.

    Args:
        image_tokens: m, of each image that does not say its own number.
        length: positions to pad to; None: as many as there are tokens, and no query is repeated.

    Raises ValueError for an empty pack, an empty target, or more tokens than `length`.
    """
    if not images or any(not branch for image in images for branch in image.branches):
        raise ValueError("a pack needs an image, and every branch a token")
    writer = _Writer(image_tokens)
    for root, group in _by_root(images):
        writer.root(root, group)
    if length is not None and len(writer.ids) > length:
        raise ValueError(f"{len(writer.ids)} tokens do not fit into a pack of {length}")
    branches = [branch for image in images for branch in image.branches]
    return writer.layout(len(branches), max(map(len, branches), default=0), length)


def _by_root(images: Sequence[PackedImage]) -> Iterator[tuple[tuple[int, ...], list[tuple[int, PackedImage]]]]:
    """Groups of equal text before the image, in order of appearance, each image with the row of its first branch."""
    found: dict[tuple[int, ...], list[tuple[int, PackedImage]]] = {}
    row = 0
    for image in images:
        found.setdefault(image.prompt.before, []).append((row, image))
        row += len(image.branches)
    yield from found.items()


@dataclass
class _Writer:
    """Writes the tree depth first into growing lists, one entry a token."""

    image_tokens: int
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    until: list[int] = field(default_factory=list)
    image_at: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    pick: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # row and step of each target token

    def root(self, before: Sequence[int], group: Sequence[tuple[int, PackedImage]]) -> None:
        """The shared text, then its images."""
        start = self.write(before, 0)
        for row, image in group:
            self.image(image, row, len(before))
        self.close(start, len(before))

    def image(self, image: PackedImage, row: int, position: int) -> None:
        """Image and text after it, then the captions; `row`: of the first; `position`: id of the first token."""
        tokens = self.image_tokens if image.tokens is None else image.tokens
        level = [NO_WORD] * tokens + list(image.prompt.after)
        start = self.write(level, position)
        self.image_at += range(start, start + tokens)
        self.feature.append(image.feature)
        if image.branches:
            self.branches(image.branches, row, position + len(level))
        self.close(start, len(level))

    def branches(self, targets: Sequence[Sequence[int]], row: int, position: int) -> None:
        """All captions of an image; `row`: of the first; `position`: id of their first tokens."""
        tree, start, first = Branches.of(targets), len(self.ids), len(self.queries)
        self.ids += tree.ids
        self.positions += [position + depth for depth in tree.depths]
        self.until += [start + end for end in tree.ends]
        self.queries += range(start - 1, start + len(tree.ids))  # the end of the prompt predicts every start
        known: dict[tuple[int, int], int] = {}
        for offset, (target, path) in enumerate(zip(targets, tree.paths, strict=True)):
            for step, predicted in enumerate(zip((-1, *path), target, strict=True)):
                self.pick.append(known.setdefault(predicted, len(self.asked)))
                if self.pick[-1] == len(self.asked):
                    self.asked.append(first + 1 + predicted[0])
                    self.targets.append(predicted[1])
                self.places.append((row + offset, step))

    def write(self, ids: Sequence[int], position: int) -> int:
        """Append tokens with ascending position ids; returns where they start."""
        start = len(self.ids)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.until += [0] * len(ids)
        return start

    def close(self, start: int, count: int) -> None:
        """What these tokens are seen by ends here."""
        self.until[start : start + count] = [len(self.ids)] * count

    def layout(self, rows: int, longest: int, length: int | None) -> PackLayout:
        """The lists as tensors. Padding sees itself only, so that its attention is defined."""
        tokens = len(self.ids)
        padding = range(tokens, tokens if length is None else length)
        queries = self.queries
        if length is not None and queries:
            queries = queries + queries[-1:] * (static_size(len(queries)) - len(queries))
        return PackLayout(
            ids=torch.tensor(self.ids + [NO_WORD] * len(padding)),
            positions=torch.tensor(self.positions + [0] * len(padding)),
            until=torch.tensor(self.until + [i + 1 for i in padding], dtype=torch.int32),
            image_at=torch.tensor(self.image_at, dtype=torch.long),
            feature=torch.tensor(self.feature, dtype=torch.long),
            queries=torch.tensor(queries, dtype=torch.long),
            asked=torch.tensor(self.asked, dtype=torch.long),
            targets=torch.tensor(self.targets, dtype=torch.long),
            pick=torch.tensor(self.pick, dtype=torch.long),
            slot=torch.tensor([row * longest + step for row, step in self.places], dtype=torch.long),
            rows=rows,
            longest=longest,
            tokens=tokens,
        )
