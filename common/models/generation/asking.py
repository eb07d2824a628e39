"""From prompts to trees: what all begin with is the root, what all of an image begin with its trunk.

The text before the image is the same in all prompts of a template, so it is computed once; image and the text after it
that its questions share are computed once an image; the rest belongs to each question.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from common.models.generation.tree.trees import Ids, Tree, TreeSizes, shared_start
from common.models.text.ids import PromptIds
from common.transfer import sent

Item = TypeVar("Item")

MOST_BRANCHES = 8  # of a tree at a time; further ones begin where one has ended


@dataclass(frozen=True)
class Asked:
    """Everything that is asked of one image.

    Attributes:
        prompts: cut at the image; for a text alone, `after` is empty and there are no features.
        names: one of each, for the random numbers of its sample.
    """

    prompts: tuple[PromptIds, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """What was said to one prompt: new ids, end symbol included where it was produced.

    Attributes:
        asked, place: the question's number, and that of its prompt.
    """

    asked: int
    place: int
    ids: list[int]


@dataclass(frozen=True)
class Group:
    """Prompts of one image that can share a trunk, and where they stand among all of that image."""

    asked: int
    places: tuple[int, ...]
    before: Ids
    shared: Ids
    starts: tuple[Ids, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Forest:
    """All that will be asked, in the order in which the trees are grown; `root` comes before every trunk."""

    root: Ids
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, questions: Sequence[Asked], with_image: bool = True) -> Forest:
        """Find what can be shared."""
        befores = [prompt.before for asked in questions for prompt in asked.prompts]
        shared = _common(befores) if with_image else shared_start(befores)
        groups = [
            group for number, asked in enumerate(questions) for group in _groups(number, asked, shared, with_image)
        ]
        return cls(befores[0][:shared] if befores else (), tuple(groups))

    def sizes(self, image_tokens: int) -> TreeSizes:
        """The longest trunk and start, and the most branches."""
        trunk = max(len(g.before) + image_tokens + len(g.shared) for g in self.groups)
        start = max(len(start) for g in self.groups for start in g.starts)
        return TreeSizes(len(self.root) + trunk, max(1, start), max(len(g.starts) for g in self.groups))

    def trees(self, features: Iterable[Tensor | None], embed: torch.nn.Module, device: torch.device) -> Iterator[Tree]:
        """The trees, numbered as `groups`, as features [m, d] of their images come, one for each that is asked about.

        An image without features (None) is left out.
        """
        words: dict[Ids, Tensor] = {}  # of one image, mostly those of all
        groups = groupby(enumerate(self.groups), key=lambda pair: pair[1].asked)
        for (_, of_image), feature in zip(groups, features, strict=True):
            if feature is not None:
                for number, group in of_image:
                    ids = (*group.before, *group.shared)
                    if ids not in words:
                        words = {ids: embed(sent(ids, device, torch.long))}
                    yield _tree(number, group, feature, words[ids])


def same_objects(images: Sequence[Any]) -> list[list[int]]:
    """Places of each image, in order of appearance: one and the same object may be asked about many times."""
    found: dict[int, list[int]] = {}
    for place, image in enumerate(images):
        found.setdefault(id(image), []).append(place)
    return list(found.values())


def sample_names(images: Sequence[Any], texts: Sequence[str]) -> list[str]:
    """Names from what an image shows, and how many times it stood before with the same text."""
    shows = {id(image): hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()) for image in images}
    seen: Counter[tuple[str, str]] = Counter()
    names = []
    for image, text in zip(images, texts, strict=True):
        shown = shows[id(image)].hexdigest()
        names.append(f"{shown}/{seen[shown, text]}")
        seen[shown, text] += 1
    return names


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of `size` items (the last may be shorter), taken when they are needed."""
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


def _common(rows: Sequence[Ids]) -> int:
    """How many ids all rows begin with."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, rows)))


def _groups(number: int, asked: Asked, root: int, with_image: bool) -> Iterator[Group]:
    """Prompts with the same text before the image share a trunk; one that ends with the image has its own."""
    found: dict[tuple[Ids, int], list[int]] = {}
    for place, prompt in enumerate(asked.prompts):
        alone = place if with_image and not prompt.after else -1
        found.setdefault((prompt.before if with_image else (), alone), []).append(place)
    for (before, _), places in found.items():
        rows = [asked.prompts[place].after if with_image else asked.prompts[place].before[root:] for place in places]
        shared = shared_start(rows) if rows[0] else 0
        yield Group(
            asked=number,
            places=tuple(places),
            before=before[root:],
            shared=rows[0][:shared],
            starts=tuple(row[shared:] for row in rows),
            names=tuple(asked.names[place] for place in places),
        )


def _tree(number: int, group: Group, feature: Tensor, words: Tensor) -> Tree:
    """`words`: embeddings of what stands before the image and of what its questions share behind it."""
    cut = len(group.before)
    trunk = torch.cat([words[:cut], feature.to(words.dtype), words[cut:]])
    if group.starts[0]:
        return Tree(number, trunk, group.starts, group.names)
    return Tree(number, trunk[:-1], group.starts, group.names, trunk[-1])
