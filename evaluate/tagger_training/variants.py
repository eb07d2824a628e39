"""Short texts around the words whose count depends on their class, to train the tagger of `metrics.tagger` on.

Captions hold too few of them: a word that one model never wrote, or never beside that neighbour, is one that another
model may write. So each such word is put into places where words with the same ending stand, with neighbours
exchanged now and then, and the teacher tags the new text. Words that the teacher takes for different things get most.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

Teacher = Callable[[Sequence[str]], list[str]]
Tagged = tuple[list[str], list[str]]  # tokens, tags
Outcome = Callable[[str, str], str | None]  # token, tag -> what it counts as
Spot = tuple[int, int]  # number of a text, number of a token in it

_EXCHANGED_ALIKE, _EXCHANGED_FREELY = 0.15, 0.10  # shares of neighbours: by a word with the same tag, by any word
_OWN_PLACE = 0.5  # share of places where the word itself stood
_FULL_AHEAD = 0.85  # share of texts that hold both tokens after the word, which the tagger looks at
_TRIED = 0.25  # share of variants made of all words alike
_LEAST, _AT_ONCE = 0.02, 3000  # weight of a word that is never undecided; places kept of one word


class _Words:
    """Words to draw from, frequent ones more often (by the root of their count)."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._words = list(counts)
        self._until = list(accumulate(count**0.5 for count in counts.values()))

    def draw(self, chooser: random.Random) -> str:
        """One of the words."""
        return chooser.choices(self._words, cum_weights=self._until)[0]


def shares(
    base: Iterable[Tagged], tried: Iterable[Tagged], matter: Iterable[str], outcome: Outcome
) -> dict[str, float]:
    """How large a part of the variants each word gets: large if it is frequent in `base` and undecided.

    Undecided is a word that the teacher takes for different things; `tried` are variants with every word in them.
    """
    counts = dict.fromkeys(sorted(matter), 0)
    found: dict[str, Counter[str | None]] = {word: Counter() for word in counts}
    for texts, step in ((base, 1), (tried, 0)):
        for tokens, tags in texts:
            for token, tag in zip(tokens, tags, strict=True):
                if token in counts:
                    counts[token] += step
                    found[token][outcome(token, tag)] += 1
    weights = {}
    for word, seen in found.items():
        undecided = 1 - max(seen.values()) / seen.total() if seen else 0.0
        weights[word] = _LEAST + undecided * (5 + counts[word]) ** 0.5
    whole = sum(weights.values())
    return {word: weight / whole for word, weight in weights.items()}


class _Places:
    """Where the words that matter stand, and what may stand beside them."""

    def __init__(self, base: Sequence[Tagged], matter: frozenset[str], chooser: random.Random) -> None:
        self._base, self._chooser = base, chooser
        by_tag: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._of_word: defaultdict[str, list[Spot]] = defaultdict(list)
        for number, (tokens, tags) in enumerate(base):
            for i, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
                if tag.isalpha():
                    by_tag[tag][token] += 1
                if token in matter:
                    self._of_word[token].append((number, i))
        self._alike = {tag: _Words(counts) for tag, counts in by_tag.items()}
        self._any = _Words(sum(by_tag.values(), Counter()))
        self._of_ending: defaultdict[str, list[Spot]] = defaultdict(list)
        for word, spots in self._of_word.items():
            kept = spots if len(spots) <= _AT_ONCE else chooser.sample(spots, _AT_ONCE)
            self._of_ending[word[-1:]] += kept

    def text(self, word: str) -> list[str]:
        """A new text with the word in it: three to five tokens before and two after it, at most."""
        own, chooser = self._of_word.get(word), self._chooser
        alike = self._of_ending.get(word[-1:]) or self._of_ending["s"]
        number, at = chooser.choice(own if own and chooser.random() < _OWN_PLACE else alike)
        tokens, tags = self._base[number]
        first = max(0, at - chooser.randint(2, 4))
        if at <= 4 and chooser.random() < 0.5:
            first = 0
        after = 2 if chooser.random() < _FULL_AHEAD else chooser.randint(0, 1)
        places = range(first, min(at + 1 + after, len(tokens)))
        return [word if i == at else self._neighbour(tokens[i], tags[i]) for i in places]

    def _neighbour(self, token: str, tag: str) -> str:
        """The token, or another one in its place."""
        lot = self._chooser.random()
        if lot < _EXCHANGED_ALIKE and tag in self._alike:
            return self._alike[tag].draw(self._chooser)
        return self._any.draw(self._chooser) if lot < _EXCHANGED_ALIKE + _EXCHANGED_FREELY else token


def variants(
    base: Sequence[Tagged], matter: frozenset[str], outcome: Outcome, teacher: Teacher, total: int, seed: int
) -> list[Tagged]:
    """About `total` new texts, tagged by the teacher; none if no text of `base` holds a word that matters.

    Args:
        base: texts with the teacher's tags.
        matter: words whose count depends on their class.
        outcome: what a word counts as with a tag.
    """
    if not any(matter.intersection(tokens) for tokens, _ in base):
        return []
    places = _Places(base, matter, random.Random(seed))

    def made(parts: Mapping[str, float], number: float) -> list[Tagged]:
        """So many variants in all, each word its part."""
        texts = (places.text(word) for word, part in parts.items() for _ in range(round(number * part)))
        return [(text, teacher(text)) for text in texts]

    tried = made(dict.fromkeys(sorted(matter), 1 / len(matter)), _TRIED * total)
    return tried + made(shares(base, tried, matter, outcome), (1 - _TRIED) * total)
