"""The density figure: how scores of present and hallucinated objects spread, and where the thresholds cut."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.files.storage import whole_file
from common.thresholds import Thresholds
from insight.scores.detector_quality import LabelledScores, auroc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Blue and vermilion of the Okabe-Ito palette: told apart by colour-blind readers.
PRESENT, HALLUCINATED, UNLABELLED, INK = "#0072B2", "#D55E00", "#5A5A5A", "#222222"
POINTS = 400  # of a curve
BINS = 40
MARK = "EFUF, insight/clip.py"  # in the file, so that it is known as ours


def density(scores: Sequence[float], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian kernel density (Scott's bandwidth) of the scores on a grid; zeros where it is not defined."""
    import numpy as np
    from scipy.stats import gaussian_kde

    if len(set(scores)) < 2:
        return np.zeros_like(grid)
    return np.asarray(gaussian_kde(np.asarray(scores))(grid))


def _curve(axes: Any, scores: Sequence[float], grid: NDArray[np.float64], colour: str, name: str) -> None:
    if not scores:
        return
    label = f"{name} (n = {len(scores):,})"
    axes.hist(scores, bins=BINS, range=(grid[0], grid[-1]), density=True, color=colour, alpha=0.22, linewidth=0)
    axes.plot(grid, density(scores, grid), color=colour, linewidth=2.2, label=label)


def _thresholds(axes: Any, thresholds: Thresholds) -> None:
    lines = (
        (thresholds.hallucinated, HALLUCINATED, "hallucinated <", "right"),
        (thresholds.grounded, PRESENT, "> grounded", "left"),
    )
    for value, colour, text, side in lines:
        axes.axvline(value, color=colour, linestyle=(0, (4, 3)), linewidth=1.4)
        note = axes.annotate(
            f"{text}\n{value:.2f}",
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if side == "right" else 5, -6),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=9,
            color=colour,
            annotation_clip=True,  # a threshold far from the scores is not drawn, and must not stretch the figure
        )
        note.set_in_layout(False)


def draw(path: Path | str, scores: Sequence[float], labelled: LabelledScores, thresholds: Thresholds) -> None:
    """Write the figure as PNG, atomically.

    Args:
        scores: of all mentions; drawn alone where no mention is labelled.
        labelled: of the mentions whose truth is known.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [*labelled.present, *labelled.hallucinated]
    drawn = known or list(scores)
    margin = 0.08 * (max(drawn) - min(drawn)) or 1.0
    grid = np.linspace(min(drawn) - margin, max(drawn) + margin, POINTS)
    figure = Figure(figsize=(7.2, 4.0), dpi=160, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if known:
        _curve(axes, labelled.hallucinated, grid, HALLUCINATED, "hallucinated objects")
        _curve(axes, labelled.present, grid, PRESENT, "present objects")
    else:
        _curve(axes, list(scores), grid, UNLABELLED, "objects, truth unknown")
    _thresholds(axes, thresholds)
    _dress(axes, grid, auroc(labelled))
    _save(canvas, Path(path))


def _dress(axes: Any, grid: NDArray[np.float64], quality: float) -> None:
    """Axes, legend and title in one plain style."""
    title = "Image relevance of mined objects"
    title = f"{title}, AUROC {quality:.3f}" if isfinite(quality) else title
    axes.set_title(title, fontsize=12, color=INK, loc="left", pad=26)
    axes.set_xlabel("CLIP score (100 × cosine)", fontsize=10.5, color=INK)
    axes.set_ylabel("density", fontsize=10.5, color=INK)
    axes.set_xlim(grid[0], grid[-1])
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # room for the words at the thresholds
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9.5, colors=INK)
    axes.legend(frameon=False, fontsize=9.5, loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=2)


def _save(canvas: Any, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file, metadata={"Software": MARK})


def recognise(path: Path) -> None:
    """Raise DataError unless a file is such a figure."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            maker = str(image.info.get("Software", ""))
    except (OSError, ValueError, SyntaxError):
        maker = ""
    earlier = maker.startswith("Matplotlib") and path.name == "density.png"  # before figures carried a mark of ours
    if maker != MARK and not earlier:
        raise DataError("no density figure")
