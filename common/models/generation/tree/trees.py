"""What is asked of a model as trees: one root for all, a trunk an image, a branch an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.models.generation.tree.rotations import Rotations

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Given:
    """What a trunk's layers are given where that does not follow from its length: the model's own forward says it.

    Attributes:
        turns: rotations of the trunk's p positions.
        begin: position of the first token behind the trunk; each further one has the next.
        added: number of a layer -> what is added to its output, [p, d].
    """

    turns: Rotations
    begin: int
    added: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Tree:
    """One image (or text) with everything that is asked of it.

    Attributes:
        number: by which its answers are known.
        trunk: input embeddings [p, d] that all its branches share, behind the root of all trees; may be empty.
        starts: of each branch the ids that only it has before its answer; at least one, unless there is a tip.
        names: of each branch, for the random numbers of a sample.
        tip: embedding [d] of the last position where that is no id: a prompt that ends with its image.
        given: None: the trunk's positions are its places, and nothing is added.
    """

    number: int
    trunk: Tensor
    starts: tuple[Ids, ...]
    names: tuple[str, ...]
    tip: Tensor | None = None
    given: Given | None = None


@dataclass(frozen=True)
class Answer:
    """What a branch wrote: new ids, end symbol included where it was produced."""

    tree: int
    branch: int
    ids: list[int]


@dataclass(frozen=True)
class TreeSizes:
    """The longest of what is to come.

    Attributes:
        trunk: most positions of root and trunk together.
        start: longest start of a branch.
        branches: most branches of one tree.
    """

    trunk: int
    start: int
    branches: int


def shared_start(rows: Sequence[Ids]) -> int:
    """How many ids all rows begin with, the last one of the shortest never among them."""
    shortest, longest = min(rows), max(rows)  # in the order of words: all others lie between
    most = min(map(len, rows)) - 1
    same = next((i for i, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), len(shortest))
    return max(0, min(same, most))


def turns_of(trees: Sequence[Tree], rotations: Rotations, start: int) -> Rotations:
    """Those of n trunks, padded at their ends to q positions: [n * q, 1, c]; `start`: positions before a trunk."""
    each = []
    for tree in trees:
        places = torch.arange(start, start + len(tree.trunk), device=rotations.cos.device)
        each.append(rotations.at(places) if tree.given is None else tree.given.turns)
    cos, sin = (pad_sequence(parts, True).flatten(0, 1) for parts in ([t.cos for t in each], [t.sin for t in each]))
    return Rotations(cos, sin)


def added_to(trees: Sequence[Tree], trunks: Tensor) -> dict[int, Tensor]:
    """What is added behind layers to trunks [n, q, d], padded at their ends: number of a layer -> [n * q, d]."""
    layers = {layer for tree in trees if tree.given is not None for layer in tree.given.added}
    added = {layer: torch.zeros_like(trunks) for layer in sorted(layers)}
    for layer, whole in added.items():
        for place, tree in enumerate(trees):
            if tree.given is not None and layer in tree.given.added:
                whole[place, : len(tree.trunk)] = tree.given.added[layer]
    return {layer: whole.flatten(0, 1) for layer, whole in added.items()}
