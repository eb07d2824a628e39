"""Training the tagger of `metrics.tagger` to give another tagger's tags.

The teacher decides by a sum of weights over the same features, so a student can follow it exactly once it has seen
enough decisions. Only those that bear on a count are learnt: of the words that matter and of the few tokens before.
"""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.files.storage import whole_file
from evaluate.tagger.tagger import features, shape
from evaluate.tagger_training.variants import Tagged

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 20  # weights are stored as whole twentieths
_DROPPED = 3  # and left out if they are smaller than this many
_SURE = 40  # times that a word must have had the same tag to be taken for granted
_REACH = 5  # tokens before a word that matters whose tags are learnt with it
_CARE = 12.0  # weight of a decision about a word that matters
_RATE, _BATCH = 5.0, 512
Row = tuple[tuple[str, ...], str, float]  # features, tag, weight
Model = tuple[dict[str, dict[str, int]], dict[str, str]]  # feature -> tag -> weight, word -> its only tag


def fixed_words(sentences: Iterable[Tagged]) -> dict[str, str]:
    """Words that had one tag only, and often."""
    tags: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for tokens, given in sentences:
        for token, tag in zip(tokens, given, strict=True):
            tags[token][tag] += 1
    return {w: next(iter(c)) for w, c in tags.items() if len(c) == 1 and c.total() >= _SURE}


def _bearing(tokens: Sequence[str], matter: frozenset[str]) -> list[bool]:
    """Whether each token is a word that matters or stands shortly before one."""
    out, nearest = [False] * len(tokens), len(tokens) + _REACH + 1
    for i in range(len(tokens) - 1, -1, -1):
        nearest = i if tokens[i] in matter else nearest
        out[i] = nearest - i <= _REACH
    return out


def decisions(sentences: Iterable[Tagged], matter: frozenset[str], fixed: dict[str, str]) -> Iterator[Row]:
    """The decisions to learn, each once: features, the teacher's tag, and how much it weighs."""
    found: Counter[tuple[str, tuple[str, ...], str, str, str]] = Counter()
    for tokens, tags in sentences:
        padded = ["-START2-", "-START-", *map(shape, tokens), "-END-", "-END2-"]
        before, last = "-START2-", "-START-"
        for i, bearing in enumerate(_bearing(tokens, matter)):
            if bearing and tokens[i] not in fixed:
                found[tokens[i], tuple(padded[i : i + 5]), last, before, tags[i]] += 1
            before, last = last, tags[i]
    for (token, context, last, before, tag), count in found.items():
        yield features(token, context, last, before), tag, count**0.5 * (_CARE if token in matter else 1.0)


def train(sentences: Sequence[Tagged], matter: frozenset[str], rounds: int, seed: int) -> Model:
    """Weights and fixed words after some rounds over the decisions, shuffled anew each round."""
    fixed = fixed_words(sentences)
    names: dict[str, int] = {}
    tags: dict[str, int] = {}
    rows, wanted, care = [], [], []
    for found, tag, weight in decisions(sentences, matter, fixed):
        rows.append([names.setdefault(name, len(names)) for name in found])
        wanted.append(tags.setdefault(tag, len(tags)))
        care.append(weight)
    if not rows:
        return {}, fixed
    return _whole(_fit(rows, wanted, care, (len(names), len(tags)), rounds, seed), list(names), list(tags)), fixed


def _fit(
    rows: list[list[int]], wanted: list[int], care: list[float], size: tuple[int, int], rounds: int, seed: int
) -> Tensor:
    """Weights (features x tags) by logistic regression: Adagrad, the rate falling to a twentieth."""
    import torch

    x, y, weight = torch.tensor(rows), torch.tensor(wanted), torch.tensor(care)
    table = torch.nn.EmbeddingBag(*size, mode="sum", sparse=True, _weight=torch.zeros(size))
    optimizer = torch.optim.Adagrad(table.parameters(), lr=_RATE, initial_accumulator_value=0.01)
    order, done = torch.Generator().manual_seed(seed), 0
    for _ in range(rounds):
        for part in torch.randperm(len(y), generator=order).split(_BATCH):
            optimizer.param_groups[0]["lr"] = _RATE * (1 - 0.95 * done / (rounds * len(y)))
            losses = torch.nn.functional.cross_entropy(table(x[part]), y[part], reduction="none")
            optimizer.zero_grad()
            ((losses * weight[part]).sum() / _BATCH).backward()
            with torch.sparse.check_sparse_tensor_invariants(enable=False):
                optimizer.step()
            done += len(part)
    return table.weight.detach()


def _whole(weights: Tensor, names: Sequence[str], tags: Sequence[str]) -> dict[str, dict[str, int]]:
    """Weights in whole steps, small ones left out; a feature's median is taken off, which changes no decision."""
    steps = ((weights - weights.median(1, keepdim=True).values) * SCALE).round().int().tolist()
    out = {}
    for name, row in zip(names, steps, strict=True):
        least = 0 if name == "0:" else _DROPPED  # the constant feature names every tag
        kept = {tag: step for tag, step in zip(tags, row, strict=True) if abs(step) >= least}
        if kept:
            out[name] = kept
    return out


def write_model(path: Path, weights: dict[str, dict[str, int]], fixed: dict[str, str]) -> None:
    """The file that `metrics.tagger.read_model` reads; the same bytes for the same model."""
    rows = [f"{f}\t" + " ".join(f"{t}:{w}" for t, w in sorted(row.items())) for f, row in sorted(weights.items())]
    rows += [f"={word}\t{tag}" for word, tag in sorted(fixed.items())]
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0))
