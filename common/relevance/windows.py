"""Sliding windows over an image: where they lie, how they are cut, and how their scores become an object's score.

An image is divided into square patches (48 pixels); a window spans 4x4 patches and moves by one patch. The score of a
patch is the mean over the windows that cover it, the score of an object the mean of its best patches.

The grid covers the image to its edges: where a side is no multiple of the patch, the last patch is narrower and the
last window is shifted back until it ends at the edge, so that every window holds image pixels only. An image with a
side shorter than a window is one window, the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PATCH = 48  # pixels
SPAN = 4  # patches along a window's side
BEST = 4  # patches whose mean is the score of an object


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one image.

    Attributes:
        tops, lefts: first pixel of each window row and column.
        height, width: pixels of a window.
        span: patches along a window's side.
    """

    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    height: int
    width: int
    span: int

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.tops) * len(self.lefts)

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return len(self.tops) + self.span - 1, len(self.lefts) + self.span - 1


def whole_image(height: int, width: int) -> WindowGrid:
    """The grid of one window with one patch: the image as it is."""
    return WindowGrid((0,), (0,), height, width, 1)


def window_grid(height: int, width: int, patch: int = PATCH, span: int = SPAN) -> WindowGrid:
    """The sliding windows of an image of this size in pixels; the whole image where a window does not fit."""
    side = patch * span
    if min(height, width) < side:
        return whole_image(height, width)
    return WindowGrid(_starts(height, patch, span), _starts(width, patch, span), side, side, span)


def _starts(length: int, patch: int, span: int) -> tuple[int, ...]:
    """First pixels of the windows along a side; the last is shifted back to end at the edge."""
    patches = -(-length // patch)
    last = length - patch * span
    return tuple(min(i * patch, last) for i in range(patches - span + 1))


def cut_windows(images: torch.Tensor, grid: WindowGrid) -> torch.Tensor:
    """Cut images of one size into their windows, on the images' device.

    Args:
        images: [n, 3, height, width].
        grid: of that height and width.

    Returns:
        [n * windows, 3, grid.height, grid.width], image by image, rows of windows from the top.
    """
    import torch

    device = images.device
    rows = torch.tensor(grid.tops, device=device)[:, None] + torch.arange(grid.height, device=device)
    columns = torch.tensor(grid.lefts, device=device)[:, None] + torch.arange(grid.width, device=device)
    cut = images[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], grid.height, grid.width)


@lru_cache(maxsize=64)
def _coverage(windows: int, span: int, device: torch.device) -> torch.Tensor:
    """[patches, windows]: the share of each window in the mean that is a patch's score, along one side."""
    import torch

    patches = torch.arange(windows + span - 1, device=device)[:, None]
    first = torch.arange(windows, device=device)[None, :]
    covers = ((patches >= first) & (patches < first + span)).float()
    return covers / covers.sum(dim=1, keepdim=True)


def patch_scores(scores: torch.Tensor, grid: WindowGrid) -> torch.Tensor:
    """Mean, for each patch, of the scores of the windows that cover it.

    Args:
        scores: [windows, objects] of one image, float32.

    Returns:
        [patch rows, patch columns, objects].
    """
    import torch

    by_window = scores.reshape(len(grid.tops), len(grid.lefts), -1)
    rows, columns = (_coverage(len(starts), grid.span, scores.device) for starts in (grid.tops, grid.lefts))
    return torch.einsum("pr,rco,qc->pqo", rows, by_window, columns)


def object_scores(scores: torch.Tensor, grid: WindowGrid, best: int = BEST) -> torch.Tensor:
    """Mean of the best patches of each object: [windows, objects] -> [objects], whatever the number of either."""
    patches = patch_scores(scores, grid).flatten(0, 1)
    return patches.topk(min(best, patches.shape[0]), dim=0).values.mean(dim=0)
