"""From questions and image features to ids: what a model calls to generate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
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
    with_image: bool = True,
) -> Iterator[Said]:
    """Answers to all prompts, in the order in which they end.

    Args:
        trunk, head: of the decoder; weights are taken as they are now.
        features: [m, d] of each question's image, taken when there is room; None: it cannot be seen, so there is no
            answer. For texts alone (`with_image` False) [0, d].
        most: answers that are made at a time; None: as many as are useful and fit into the memory.

    Raises ArgumentError for samples of beams, ResourceError if not even one tree fits into the memory.
    """
    decoding = decoding.checked()
    source = iter(features)
    first, seen = _first_seen(source)
    if seen is None or not questions:
        return
    decoder = decoder_of(trunk, head, join=copies_fit(trunk), fast=runs_fast(trunk))
    forest = Forest.of(questions, with_image)
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
    for said in grow(trunk, head, asked, nothing, decoding, stop_ids, with_image=False):
        found[groups[said.asked][said.place][0]] = said.ids
    return found


def grow_rows(
    trunk: Any,
    head: Any,
    rows: Sequence[Tensor],
    names: Sequence[str],
    decoding: Decoding,
    stop_ids: Collection[int],
    most: int | None = None,
) -> list[list[int]]:
    """New ids after rows of input embeddings [t, d], images inside, each with a name for its sample."""
    decoding = decoding.checked()
    decoder = decoder_of(trunk, head, join=copies_fit(trunk), fast=runs_fast(trunk))
    sizes = TreeSizes(max(map(len, rows)) - 1, 1, 1)
    shape = table_shape(decoder, sizes, decoding, len(rows), most, rows[0].dtype)
    trees = (Tree(n, row[:-1], ((),), (name,), row[-1]) for n, (row, name) in enumerate(zip(rows, names, strict=True)))
    found: list[list[int]] = [[] for _ in rows]
    for answer in grown(decoder, shape, decoding, stop_ids, rows[0][:0], trees):
        found[answer.tree] = answer.ids
    return found


def grown(
    decoder: Decoder,
    shape: TableShape,
    decoding: Decoding,
    stop_ids: Collection[int],
    root: Tensor,
    trees: Iterable[Tree],
) -> Iterator[Answer]:
    """Answers of all branches, in the order in which they end; of a small model on the CPU in several lanes.

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
