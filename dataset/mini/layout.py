"""A scene before it is drawn: which objects, how many, how large, where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset.mini.categories import BY_NAME, CATEGORIES, Category, Look
from dataset.mini.scenes import SCENES, Scene

IMAGE_SIZE = 112  # pixels
SPLITS = {"pretrain": 0, "train": 1, "eval": 2, "tune": 3}  # no two splits share a random stream
STRANGER = 0.08  # probability that an object is not typical of the scene
SEVERAL = 0.22  # probability that an object type appears more than once
OVERLAP = 0.15  # of the smaller box that may be covered before another place is tried


@dataclass(frozen=True)
class Box:
    """Left, top, width, height in pixels."""

    left: float
    top: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """Shared area as a share of the smaller box."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        smaller = min(self.width * self.height, other.width * other.height)
        return max(0.0, wide) * max(0.0, high) / smaller


@dataclass(frozen=True)
class Instance:
    """One object of a scene."""

    category: Category
    look: Look
    box: Box


@dataclass(frozen=True)
class Layout:
    """A scene type with its objects, back to front."""

    scene: Scene
    instances: tuple[Instance, ...]

    def counts(self) -> dict[tuple[Category, Look], int]:
        """How many of each look, in order of first appearance."""
        counts: dict[tuple[Category, Look], int] = {}
        for instance in self.instances:
            key = (instance.category, instance.look)
            counts[key] = counts.get(key, 0) + 1
        return counts

    def present(self) -> set[str]:
        """Names of the categories in the picture."""
        return {instance.category.name for instance in self.instances}


def generator(split: str, seed: int, index: int) -> np.random.Generator:
    """The random stream of one image: the same whatever else is drawn, in whatever order."""
    return np.random.default_rng(np.random.SeedSequence([SPLITS[split], seed, index]))


def make_layout(rng: np.random.Generator) -> Layout:
    """Draw a scene: 3-8 objects of 2-5 types, some of them several times, little overlap."""
    scene = SCENES[rng.integers(len(SCENES))]
    chosen = _choose_looks(scene, rng)
    placed: list[Instance] = []
    for category, look in chosen:
        size = float(np.clip(rng.normal(30, 4), 22, 42)) * category.scale
        box = _place(min(size, 48.0), [i.box for i in placed], rng)
        placed.append(Instance(category, look, box))
    return Layout(scene, tuple(placed))


def _choose_looks(scene: Scene, rng: np.random.Generator) -> list[tuple[Category, Look]]:
    weights = np.array(scene.weights())
    kinds = int(rng.choice([2, 3, 4, 5], p=[0.17, 0.38, 0.3, 0.15]))
    typical = rng.choice(len(weights), size=kinds, replace=False, p=weights / weights.sum())
    categories = [
        CATEGORIES[rng.integers(len(CATEGORIES))] if rng.random() < STRANGER else BY_NAME[scene.typical[i]]
        for i in typical
    ]
    chosen: list[tuple[Category, Look]] = []
    for category in dict.fromkeys(categories):
        look = category.looks[rng.integers(len(category.looks))]
        copies = int(rng.integers(2, 4)) if rng.random() < SEVERAL else 1
        chosen += [(category, look)] * copies
    while len(chosen) < 3:  # too bare: repeat what is there
        chosen.append(chosen[int(rng.integers(len(chosen)))])
    return sorted(chosen[:8], key=lambda pair: -pair[0].scale)


def _place(size: float, others: list[Box], rng: np.random.Generator) -> Box:
    """A place with little overlap, or the best of 40 tries."""
    best, least = None, 9.0
    for _ in range(40):
        left, top = rng.uniform(0, IMAGE_SIZE - size, size=2)
        box = Box(float(left), float(top), size, size)
        worst = max((box.overlap(other) for other in others), default=0.0)
        if worst < least:
            best, least = box, worst
        if worst <= OVERLAP * rng.random():
            break
    assert best is not None
    return best
