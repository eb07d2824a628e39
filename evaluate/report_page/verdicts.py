"""What became of each caption, and of each object over all captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluate.report_page.evidence import Reading

MUCH_SHORTER = 0.75  # of the words before, at most
BETTER, WORSE, SAME = "better", "worse", "same"
Pair = tuple[Reading, Reading | None]


@dataclass(frozen=True)
class Verdict:
    """One caption before and after.

    Attributes:
        kind: better (fewer invented mentions than before), worse (more), or same; empty without truth or without an
            after.
        repeats: names something again, more often than before.
        shorter: has lost more than a quarter of its words.
        gone, new: objects that it no longer names, and that it did not name before.
        lost: of those gone, the ones that are in the picture.
    """

    kind: str
    repeats: bool
    shorter: bool
    gone: tuple[str, ...]
    new: tuple[str, ...]
    lost: tuple[str, ...]


def verdict(pair: Pair) -> Verdict:
    """Of one caption, or of two."""
    before, after = pair
    if after is None:
        return Verdict("", before.repeated > 0, False, (), (), ())
    gone, new = sorted(before.nodes - after.nodes), sorted(after.nodes - before.nodes)
    gold = before.score.gold if before.score else frozenset()
    kind = ""
    if before.score and after.score:
        kind = SAME if before.invented == after.invented else BETTER if after.invented < before.invented else WORSE
    return Verdict(
        kind,
        after.repeated > before.repeated,
        after.words < MUCH_SHORTER * before.words,
        tuple(gone),
        tuple(new),
        tuple(name for name in gone if name in gold),
    )


@dataclass(frozen=True)
class ObjectRow:
    """One object over all captions: mentions that count, those that are hallucinated, and real ones taken away.

    Attributes:
        mentions, hallucinated: before and after.
        lost: images that show it whose caption named it before and no longer does.
        gained: images that show it whose caption names it now and did not before.
    """

    name: str
    mentions: tuple[int, int]
    hallucinated: tuple[int, int]
    lost: int
    gained: int


def object_rows(pairs: Sequence[Pair]) -> list[ObjectRow]:
    """All objects that any caption names, those invented most often before first."""
    mentions, invented = (Counter[str](), Counter[str]()), (Counter[str](), Counter[str]())
    lost, gained = Counter[str](), Counter[str]()
    for before, after in pairs:
        for side, reading in enumerate((before, after)):
            counted = _counted(reading)
            mentions[side].update(counted[0])
            invented[side].update(counted[1])
        if after is not None and before.score is not None:
            lost.update((before.nodes - after.nodes) & before.score.gold)
            gained.update((after.nodes - before.nodes) & before.score.gold)
    rows = [
        ObjectRow(name, _both(mentions, name), _both(invented, name), lost[name], gained[name])
        for name in mentions[0] | mentions[1]
    ]
    return sorted(rows, key=lambda row: (-row.hallucinated[0], -row.mentions[0], row.name))


def _both(counts: tuple[Counter[str], Counter[str]], name: str) -> tuple[int, int]:
    return counts[0][name], counts[1][name]


def _counted(reading: Reading | None) -> tuple[Iterable[str], Iterable[str]]:
    """Objects of the mentions that count, and of the hallucinated ones among them."""
    if reading is None:
        return (), ()
    if reading.score is None:
        return [m.node for m in reading.mentions], ()
    return [m.node for m in reading.score.mentions], [m.node for m in reading.score.hallucinated]
