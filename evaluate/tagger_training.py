"""Training the tagger of `metrics.tagger` to give another tagger's tags on captions.

An averaged perceptron with a margin. Captions alone hold too few of the words whose count depends on the tag, so each
is also tagged in variants: such words are exchanged for one another, other words now and then for words with the same
tag, and the teacher tags the variant anew.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from evaluate.metrics.tagger import features, shape

Teacher = Callable[[Sequence[str]], list[str]]
Tagged = tuple[list[str], list[str]]  # tokens, tags
MARGIN = 6.0
SCALE = 10  # weights are stored as whole tenths
_SURE = 15  # times that a word must have had the same tag to be taken for granted
_EXCHANGED, _REPLACED = 0.5, 0.15  # shares of words


def variants(base: Sequence[Tagged], words: Sequence[str], teacher: Teacher, copies: int, seed: int) -> list[Tagged]:
    """Captions with words exchanged, tagged by the teacher; `words` are those that matter."""
    chooser = random.Random(seed)
    matter = set(words)
    endings: defaultdict[str, list[str]] = defaultdict(list)
    for word in sorted(matter):
        endings[word[-1:]].append(word)
    by_tag: defaultdict[str, list[str]] = defaultdict(list)
    for tokens, tags in base:
        for token, tag in zip(tokens, tags, strict=True):
            if tag.isalpha():
                by_tag[tag].append(token)

    def changed(token: str, tag: str) -> str:
        """The word, or another one in its place."""
        if token in matter and chooser.random() < _EXCHANGED:
            return chooser.choice(endings[token[-1:]])
        if tag.isalpha() and chooser.random() < _REPLACED:
            return chooser.choice(by_tag[tag])
        return token

    found = []
    for _ in range(copies):
        for tokens, tags in base:
            new = [changed(token, tag) for token, tag in zip(tokens, tags, strict=True)]
            if matter & set(new):
                found.append((new, teacher(new)))
    return found


def fixed_words(sentences: Iterable[Tagged]) -> dict[str, str]:
    """Words that had one tag only, and often."""
    tags: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for tokens, given in sentences:
        for token, tag in zip(tokens, given, strict=True):
            tags[token][tag] += 1
    return {w: next(iter(c)) for w, c in tags.items() if len(c) == 1 and c.total() >= _SURE}


class Perceptron:
    """Weights that are averaged over all steps of the training."""

    def __init__(self) -> None:
        self.weights: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._since: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.steps = 0

    def learn(self, found: Sequence[str], tag: str) -> None:
        """Move towards `tag` unless it wins by the margin."""
        self.steps += 1
        scores: defaultdict[str, float] = defaultdict(float)
        for feature in found:
            for other, weight in self.weights.get(feature, {}).items():
                scores[other] += weight
        rival = max(
            (t for t in scores if t != tag), key=lambda t: (scores[t], t), default="NN" if tag != "NN" else "JJ"
        )
        if scores[tag] - scores[rival] < MARGIN:
            for feature in found:
                self._add(feature, tag, 1.0)
                self._add(feature, rival, -1.0)

    def _add(self, feature: str, tag: str, change: float) -> None:
        weight = self.weights[feature].get(tag, 0.0)
        self._sums[feature, tag] += (self.steps - self._since[feature, tag]) * weight
        self._since[feature, tag] = self.steps
        self.weights[feature][tag] = weight + change

    def averaged(self) -> dict[str, dict[str, int]]:
        """Mean weights over all steps in whole tenths, zeros left out."""
        out = {}
        for feature, row in self.weights.items():
            means = {
                tag: round(
                    SCALE * (self._sums[feature, tag] + (self.steps - self._since[feature, tag]) * w) / self.steps
                )
                for tag, w in row.items()
            }
            out[feature] = {tag: mean for tag, mean in means.items() if mean}
        return {feature: row for feature, row in out.items() if row}


def train(sentences: Sequence[Tagged], rounds: int, seed: int) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Weights and fixed words after some rounds over the sentences, shuffled anew each round."""
    fixed, model = fixed_words(sentences), Perceptron()
    order, chooser = list(sentences), random.Random(seed)
    for _ in range(rounds):
        for tokens, tags in order:
            padded = ["-START2-", "-START-", *map(shape, tokens), "-END-", "-END2-"]
            before, last = "-START2-", "-START-"
            for i, token in enumerate(tokens):
                if token not in fixed:
                    model.learn(features(token, padded[i : i + 5], last, before), tags[i])
                before, last = last, tags[i]
        chooser.shuffle(order)
    return model.averaged(), fixed


def write_model(path: Path, weights: dict[str, dict[str, int]], fixed: dict[str, str]) -> None:
    """The file that `metrics.tagger.read_model` reads; the same bytes for the same model."""
    rows = [f"{f}\t" + " ".join(f"{t}:{w}" for t, w in sorted(row.items())) for f, row in sorted(weights.items())]
    rows += [f"={word}\t{tag}" for word, tag in sorted(fixed.items())]
    path.write_bytes(gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0))
