"""First stage of the mini LLaVA: its vision tower learns what is where, as a real LVLM's tower already knows.

Each image token says which look (a man, a taxi, a sofa ...) covers its patch, or that none does. From captions alone
the tower of so small a model learns this slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset.mini.categories import CATEGORIES
from dataset.mini.layout import IMAGE_SIZE, Layout
from dataset.mini.normalise import normalise

if TYPE_CHECKING:
    import torch

PATCH = 14
GRID = IMAGE_SIZE // PATCH
LOOK_NUMBER = {
    (category.name, look.emoji): number
    for number, (category, look) in enumerate(((c, look) for c in CATEGORIES for look in c.looks), start=1)
}
NOTHING = 0


def patch_labels(layout: Layout) -> np.ndarray:
    """[GRID * GRID] uint8, row-major: number of the front-most look at each patch's centre, 0 for none."""
    labels = np.full((GRID, GRID), NOTHING, dtype=np.uint8)
    centres = (np.arange(GRID) + 0.5) * PATCH
    for instance in layout.instances:
        box = instance.box
        rows = (centres > box.top) & (centres < box.top + box.height)
        columns = (centres > box.left) & (centres < box.left + box.width)
        labels[np.ix_(rows, columns)] = LOOK_NUMBER[instance.category.name, instance.look.emoji]
    return labels.reshape(-1)


@dataclass
class PatchDataset:
    """Pixels with patch labels (map-style dataset for the Trainer)."""

    pixels: np.ndarray
    labels: np.ndarray
    visits: int

    def __len__(self) -> int:
        return len(self.pixels) * self.visits

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Pixels [height, width, 3] uint8 and labels [GRID * GRID] uint8."""
        number = index % len(self.pixels)
        return {"pixels": self.pixels[number], "patches": self.labels[number]}


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack a batch."""
    import torch

    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in ("pixels", "patches")}


def train_vision(tokens_of: Any, width: int, data: PatchDataset, settings: Any) -> None:
    """Train a vision tower with a linear head that is thrown away afterwards.

    Args:
        tokens_of: module from normalised pixels [n, 3, height, width] to patch features [n, GRID * GRID, width].
        width: number of features of a patch.
        data: what is where.
        settings: TrainingArguments.
    """
    import torch
    from transformers import Trainer

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens_of = tokens_of
            self.head = torch.nn.Linear(width, len(LOOK_NUMBER) + 1)

        def forward(self, pixels: torch.Tensor, patches: torch.Tensor) -> dict[str, torch.Tensor]:
            """Mean cross-entropy over the patches."""
            logits = self.head(self.tokens_of(normalise(pixels))).float()  # [n, patches, looks + 1]
            return {"loss": torch.nn.functional.cross_entropy(logits.flatten(0, 1), patches.flatten().long())}

    Trainer(model=Classifier(), args=settings, train_dataset=data, data_collator=collate).train()
