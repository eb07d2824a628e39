"""Captions of one image as a tree of tokens: what several of them begin with stands once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Node = tuple[int, int]  # the node before (-1: none), and a token


@dataclass
class Nodes:
    """Tokens that targets feed, numbered as they appear. A target's last token predicts nothing, so it is not fed."""

    numbers: dict[Node, int] = field(default_factory=dict)

    def add(self, target: Sequence[int]) -> tuple[int, ...]:
        """The numbers of the tokens that a target feeds."""
        at, path = -1, []
        for token in target[:-1]:
            at = self.numbers.setdefault((at, token), len(self.numbers))
            path.append(at)
        return tuple(path)

    def added_by(self, target: Sequence[int]) -> int:
        """How many tokens a target would add."""
        at = -1
        for known, token in enumerate(target[:-1]):
            found = self.numbers.get((at, token))
            if found is None:
                return len(target) - 1 - known
            at = found
        return 0


def fed_tokens(targets: Sequence[Sequence[int]]) -> int:
    """How many tokens these targets feed, each once."""
    if len(targets) == 1:
        return len(targets[0]) - 1
    nodes = Nodes()
    for target in targets:
        nodes.add(target)
    return len(nodes.numbers)


@dataclass(frozen=True)
class Branches:
    """The tokens that targets feed, depth first.

    Attributes:
        ids: of each token.
        depths: of each, how many stand before it in its targets.
        ends: of each, the place behind the last that sees it.
        paths: of each target, the places of the tokens that it feeds.
    """

    ids: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, targets: Sequence[Sequence[int]]) -> Branches:
        """Of target ids; branches stand in the order in which they first appear."""
        nodes = Nodes()
        paths = [nodes.add(target) for target in targets]
        tokens = [token for _, token in nodes.numbers]
        place: dict[int, int] = {}
        depths, ends = [0] * len(tokens), [0] * len(tokens)
        for path in sorted(paths):  # numbered as they appear, so this is depth first
            for depth, node in enumerate(path):
                depths[place.setdefault(node, len(place))] = depth
            for node in path:
                ends[place[node]] = len(place)
        return cls(
            tuple(tokens[node] for node in place),
            tuple(depths),
            tuple(ends),
            tuple(tuple(place[node] for node in path) for path in paths),
        )
