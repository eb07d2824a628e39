"""The chart of the probes: what became of low mentions, and of what a run must not lose, over its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files.storage import whole_file

if TYPE_CHECKING:
    from finetune.probe.choice import Bounds
    from finetune.probe.measure import Measure

# Of the Okabe-Ito palette: told apart by colour-blind readers.
LOW, SEEN, SAID, TWICE, FORGOTTEN, INK = "#D55E00", "#0072B2", "#5A5A5A", "#CC79A7", "#009E73", "#222222"
SUFFIXES = (".svg", ".png")


def draw(folder: Path, probes: Sequence[Measure], kept: int, bounds: Bounds | None) -> list[Path]:
    """Write `probe.svg` and `probe.png` into a folder, each at once; the same probes give the same bytes.

    Args:
        kept: step whose weights the run leaves.
        bounds: that the best probe has to keep; None where the last step is kept.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "probe", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9.2, 2.9), dpi=150)
        FigureCanvasAgg(figure)
        figure.subplots_adjust(left=0.045, right=0.985, bottom=0.17, top=0.88, wspace=0.2)
        left, middle, right = figure.subplots(1, 3)
        _share(left, probes)
        _kept_of_start(middle, probes, bounds)
        _repetition(right, probes, bounds)
        for axes in (left, middle, right):
            _dress(axes, kept)
        return [_save(figure, folder / f"probe{suffix}") for suffix in SUFFIXES]


def _save(figure: Any, path: Path) -> Path:
    kind = path.suffix[1:]
    metadata = {"svg": "Date", "png": "Software"}[kind]  # would differ by the day, or by the version
    with whole_file(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format=kind, metadata={metadata: None})
    return path


def _line(
    axes: Any, probes: Sequence[Measure], value: Callable[[Measure], float | None], colour: str, name: str
) -> None:
    points = [(p.step, v) for p in probes if (v := value(p)) is not None]
    axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3.5, linewidth=1.8, label=name)


def _share(axes: Any, probes: Sequence[Measure]) -> None:
    _line(axes, probes, lambda p: None if p.share is None else 100 * p.share, LOW, "")
    axes.set_title("mentions below the threshold, %", fontsize=10, color=INK, loc="left")


def _kept_of_start(axes: Any, probes: Sequence[Measure], bounds: Bounds | None) -> None:
    start = probes[0]
    parts: list[tuple[str, float | None, Callable[[Measure], float | None], str, float]] = [
        ("grounded objects", start.grounded, lambda p: p.grounded, SEEN, bounds.object_loss if bounds else 0.0),
        ("words", start.words, lambda p: p.words, SAID, bounds.word_loss if bounds else 0.0),
        ("loss of positive spans", start.positive_loss, lambda p: p.positive_loss, FORGOTTEN,
         -bounds.positive_rise if bounds else 0.0),
    ]  # fmt: skip
    for name, had, value, colour, loss in parts:
        if had:
            _line(axes, probes, lambda p, v=value, h=had: _percent(v(p), h), colour, name)  # type: ignore[misc]
            if bounds:
                _bound(axes, 100 * (1 - loss), colour)
    axes.set_title("per caption, and loss: % of the start", fontsize=10, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=8.5)


def _percent(value: float | None, of: float) -> float | None:
    return None if value is None else 100 * value / of


def _repetition(axes: Any, probes: Sequence[Measure], bounds: Bounds | None) -> None:
    _line(axes, probes, lambda p: 100 * p.repetition, TWICE, "")
    if bounds:
        _bound(axes, 100 * (probes[0].repetition + bounds.repetition), TWICE)
    axes.set_title("captions naming something twice, %", fontsize=10, color=INK, loc="left")


def _bound(axes: Any, value: float, colour: str) -> None:
    axes.axhline(value, color=colour, linestyle=(0, (4, 3)), linewidth=1.0)


def _dress(axes: Any, kept: int) -> None:
    axes.axvline(kept, color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step (dotted: kept)", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=INK)
