"""Which items share a forward pass: image groups, and packs of them that stay within a budget of tokens.

Everything known of one image, under one prompt, is a group: the image and the prompt are run once, captions are
branches behind them, which part where they differ (`common/models/packed/layout.py`). A pack is what goes through the
decoder at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from common.models.packed.branches import Nodes, fed_tokens
from finetune.corpus.prefixes import FirstHomes
from finetune.corpus.records import CaptionItem, Span

WINDOW = 16  # units looked at when a pack is filled

Group = tuple[CaptionItem, ...]


def image_groups(items: Iterable[CaptionItem]) -> list[Group]:
    """Items of one image and one prompt together, in order of first appearance."""
    found: dict[tuple[object, ...], list[CaptionItem]] = {}
    for item in items:
        found.setdefault((item.image, item.prompt), []).append(item)
    return [tuple(group) for group in found.values()]


def merged(items: Iterable[CaptionItem]) -> list[CaptionItem]:
    """The same spans over fewer branches: one whose tokens begin another's of its image and prompt joins it."""
    return [item for group in image_groups(items) for item in _without_prefixes(group)]


def _without_prefixes(group: Group) -> list[CaptionItem]:
    """Items of one image and prompt over the fewest branches.

    An item joins the branch that it continues, which then takes its tokens, else the first that continues it. No branch
    ever begins another: one that an item continues is the only one, so it is the nearest prefix that begins any.
    """
    homes = FirstHomes(item.ids for item in group)
    branches: list[CaptionItem] = []  # the first item of each
    ids: list[tuple[int, ...]] = []
    spans: list[list[Span]] = []
    for item in group:
        home = homes.nearest(item.ids)
        if home is None or not _begin_alike(ids[home], item.ids):
            home = len(branches)
            branches.append(item)
            ids.append(item.ids)
            spans.append([])
        ids[home] = max(ids[home], item.ids, key=len)
        spans[home] += item.spans
        homes.add(item.ids, home)
    return [replace(item, ids=i, spans=tuple(s)) for item, i, s in zip(branches, ids, spans, strict=True)]


def _begin_alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether either begins with the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


@dataclass(frozen=True)
class Unit:
    """What is never split: a group, or the part of one that fits into a pack.

    Attributes:
        items: of one image and one prompt.
        own: tokens that it adds to a pack, those before the image aside.
        before: the tokens before the image, which groups of a pack share.
    """

    items: Group
    own: int
    before: tuple[int, ...]


@dataclass(frozen=True)
class PackPlan:
    """How items become packs.

    Args:
        image_tokens: of one image, where nothing else is known.
        shares: whether the captions of an image share its prefix; if not, each is a row of its own.
        budget: tokens of a pack; None: no bound. A single caption above it is a pack of its own.
        static: whether every pack is padded to the budget, so that all have one shape.
        by_image: tokens of images that take another number, by name.
    """

    image_tokens: int
    shares: bool
    budget: int | None = None
    static: bool = False
    by_image: Mapping[str, int] = field(default_factory=dict, repr=False)

    def tokens_in(self, item: CaptionItem) -> int:
        """Of an item's image."""
        return self.by_image.get(item.image, self.image_tokens)

    def unit(self, group: Group) -> Unit:
        """The group with its size. `group`: items of one image and one prompt."""
        prompt = group[0].prompt
        if self.shares:
            fed = fed_tokens([item.ids for item in group])
            return Unit(group, self.tokens_in(group[0]) + len(prompt.after) + fed, prompt.before)
        fed = sum(len(item.ids) - 1 for item in group)
        return Unit(group, len(group) * prompt.length(self.tokens_in(group[0])) + fed, ())

    def tokens(self, units: Iterable[Unit]) -> int:
        """Tokens of a pack of these: what the budget bounds."""
        units = list(units)
        return sum(unit.own for unit in units) + sum(map(len, {unit.before for unit in units}))

    def row_tokens(self, item: CaptionItem) -> int:
        """Tokens of a pack of this item alone."""
        return self.tokens([self.unit((item,))])

    def length(self, units: Sequence[Unit]) -> int:
        """Length that the pack is laid out with: its tokens, or the budget where all have one shape."""
        tokens = self.tokens(units)
        return max(tokens, self.budget or 0) if self.static else tokens

    def units(self, items: Iterable[CaptionItem]) -> list[Unit]:
        """Groups of the items; one above the budget is parted between its captions."""
        return [unit for group in image_groups(items) for unit in self._parts(group)]

    def _parts(self, group: Group) -> list[Unit]:
        if self.budget is None or self.tokens([self.unit(group)]) <= self.budget:
            return [self.unit(group)]
        parts: list[list[CaptionItem]] = []
        tokens, tree = 0, Nodes()
        for item in group:
            more = tree.added_by(item.ids) if self.shares else self.row_tokens(item)
            if parts and tokens + more <= self.budget:
                parts[-1].append(item)
                tokens += more
            else:
                parts.append([item])
                tokens, tree = self.row_tokens(item), Nodes()
            tree.add(item.ids)
        return [self.unit(tuple(part)) for part in parts]

    def cut(self, items: Iterable[CaptionItem]) -> list[list[Unit]]:
        """Packs of the items: each item in one of them, none above the budget but of a single caption."""
        units = self.units(items)
        return [[units[place] for place in pack] for pack in self.fill(units)]

    def fill(self, units: Sequence[Unit]) -> list[list[int]]:
        """Places of the units of each pack: the first of the next `WINDOW` units that fits, until none does."""
        if self.budget is None:
            return [list(range(len(units)))] if units else []
        left, packs = deque(range(len(units))), []
        while left:
            packs.append(self._next_pack(units, left, self.budget))
        return packs

    def _next_pack(self, units: Sequence[Unit], left: deque[int], budget: int) -> list[int]:
        first = left.popleft()
        pack, used, roots = [first], self.tokens([units[first]]), {units[first].before}
        while True:
            near = islice(left, WINDOW)
            chosen = next((place for place in near if used + _added(units[place], roots) <= budget), None)
            if chosen is None:
                return pack
            left.remove(chosen)
            pack.append(chosen)
            used += _added(units[chosen], roots)
            roots.add(units[chosen].before)

    def halved(self, packs: Sequence[Sequence[Unit]]) -> PackPlan:
        """The plan with half the tokens of the largest of these packs."""
        return replace(self, budget=max(1, max(self.length(pack) for pack in packs) // 2))


def _added(unit: Unit, roots: set[tuple[int, ...]]) -> int:
    return unit.own + (0 if unit.before in roots else len(unit.before))
