"""From questions and image features to ids: what a model calls to generate."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from common.models.generation.asking import MOST_BRANCHES, Asked, Forest, Said, chunks
from common.models.generation.decoding import Decoding
from common.models.generation.tree.engine import TreeDecoder
from common.models.generation.tree.kernels import runs_fast
from common.models.generation.tree.llama import Decoder, decoder_of
from common.models.generation.tree.memory import copies_fit, fit_slots, make_fitting, slot_bytes
from common.models.generation.tree.shapes import TableShape
from common.models.generation.tree.trees import Answer, Tree, TreeSizes
from common.models.lanes import lanes_of, side_by_side
from common.models.text.ids import PromptIds

LOOK = 64  # trees that are made before the tables are
ROOM = 64  # positions, of which trunks of tables are a multiple
ROWS = 16  # of a lane at least: with fewer, products of a small model wait for its weights


@torch.no_grad()
def grow(
    trunk: Any,
    head: Any,
    questions: Sequence[Asked],
    features: Iterable[Tensor | None],
    decoding: Decoding,
    stop_ids: Collection[int],
    most: int | None = None,
) -> Iterator[Said]:
    """Answers to all prompts, in the order in which they end.

    Args:
        trunk, head: of the decoder; weights are taken as they are now.
        features: [m, d] of each question's image, taken when there is room; None: it cannot be seen, so there is no
            answer. For texts alone [0, d].
        most: answers that are made at a time; None: as many as are useful and fit into the memory.

    Raises ArgumentError for samples of beams, ResourceError if not even one tree fits into the memory.
    """
    decoding = decoding.checked()
    source = iter(features)
    first, seen = _first_seen(source)
    if seen is None or not questions:
        return
    decoder = decoder_of(trunk, head, join=copies_fit(trunk), fast=runs_fast(trunk))
    forest = Forest.of(questions, with_image=len(seen) > 0)
    shape = table_shape(decoder, forest.sizes(len(seen)), decoding, len(forest.groups), most, seen.dtype)
    root = decoder.embed(torch.tensor(forest.root, dtype=torch.long, device=decoder.device))
    trees = forest.trees(chain(first, source), decoder.embed, decoder.device)
    for answer in grown(decoder, shape, decoding, stop_ids, root, trees):
        group = forest.groups[answer.tree]
        yield Said(group.asked, group.places[answer.branch], answer.ids)


def grow_texts(
    trunk: Any, head: Any, prompts: Sequence[Sequence[int]], decoding: Decoding, stop_ids: Collection[int]
) -> list[list[int]]:
    """New ids after each prompt without an image; what all begin with is computed once."""
    rows = list(enumerate(prompts))
    groups = list(chunks(rows, MOST_BRANCHES))
    asked = [Asked(tuple(PromptIds(tuple(ids), ()) for _, ids in g), tuple(str(row) for row, _ in g)) for g in groups]
    nothing = [trunk.embed_tokens.weight[:0]] * len(groups)
    found: list[list[int]] = [[] for _ in prompts]
    for said in grow(trunk, head, asked, nothing, decoding, stop_ids):
        found[groups[said.asked][said.place][0]] = said.ids
    return found


@torch.no_grad()
def grow_trees(
    decoder: Decoder,
    trees: Iterable[Tree],
    count: int,
    decoding: Decoding,
    stop_ids: Collection[int],
    most: int | None = None,
) -> Iterator[Answer]:
    """Answers of trees that stand for themselves, without a root, in the order in which they end.

    Args:
        trees: made when there is room for them. Tables are as large as the first ones need; one that is larger, and all
            behind it, begin when those before have ended.
        count: how many there are at most; most: answers that are made at a time.
    """
    decoding = decoding.checked()
    waiting = Waiting(trees)
    while waiting.look(LOOK):
        sizes = waiting.sizes()
        dtype = waiting.seen[0].trunk.dtype
        shape = table_shape(decoder, sizes, decoding, count, most, dtype)
        yield from grown(decoder, shape, decoding, stop_ids, waiting.seen[0].trunk[:0], waiting.fitting(sizes))


class Waiting:
    """Trees to come, some of them made already."""

    def __init__(self, trees: Iterable[Tree]) -> None:
        self.source = iter(trees)
        self.seen: deque[Tree] = deque()

    def look(self, many: int) -> bool:
        """Make so many of those to come; whether there are any."""
        self.seen.extend(islice(self.source, max(0, many - len(self.seen))))
        return bool(self.seen)

    def sizes(self) -> TreeSizes:
        """What those that are made need, with some room for the others."""
        trunk = -(-max(len(tree.trunk) for tree in self.seen) // ROOM) * ROOM
        return TreeSizes(trunk, max(map(_start, self.seen)), max(len(tree.starts) for tree in self.seen))

    def fitting(self, sizes: TreeSizes) -> Iterator[Tree]:
        """The next ones, up to the first that is larger."""
        while self.look(1) and len(self.seen[0].trunk) <= sizes.trunk and _start(self.seen[0]) <= sizes.start:
            yield self.seen.popleft()


def _start(tree: Tree) -> int:
    return max(1, *map(len, tree.starts))


def grown(
    decoder: Decoder,
    shape: TableShape,
    decoding: Decoding,
    stop_ids: Collection[int],
    root: Tensor,
    trees: Iterable[Tree],
) -> Iterator[Answer]:
    """Answers of all branches, in the order in which they end; of a small model on the CPU in several lanes.

    `root`: embeddings [r, d] of what comes before every trunk.

    Raises ResourceError if not even one tree fits into the memory.
    """
    lanes = lanes_of(decoder.trunk, shape.slots * shape.branches // ROWS)
    part = replace(shape, slots=-(-shape.slots // lanes))
    made = [
        make_fitting(
            part,
            slot_bytes(decoder, part, root.dtype),
            lambda fitting: TreeDecoder(decoder, fitting, decoding, stop_ids, root),
        )
        for _ in range(lanes)
    ]
    return chain.from_iterable(side_by_side([one.run_steps for one in made], trees))


def _first_seen(source: Iterator[Tensor | None]) -> tuple[list[Tensor | None], Tensor | None]:
    """What comes up to the first features, and these."""
    taken: list[Tensor | None] = []
    for one in source:
        taken.append(one)
        if one is not None:
            return taken, one
    return taken, None


def table_shape(
    decoder: Decoder, sizes: TreeSizes, decoding: Decoding, trees: int, most: int | None, dtype: torch.dtype
) -> TableShape:
    """The tables for trees of these sizes, with as many slots as fit. Raises ResourceError if not even one does."""
    searching = decoding.num_beams > 1
    branches = min(sizes.branches, MOST_BRANCHES if most is None else min(MOST_BRANCHES, most))
    rows = decoding.num_beams if searching else branches
    one = TableShape(1, rows, sizes.trunk, sizes.start + decoding.max_new_tokens)
    slots = None if most is None else max(1, most // (1 if searching else rows))
    return fit_slots(one, slot_bytes(decoder, one, dtype), decoder.device, trees, slots)
