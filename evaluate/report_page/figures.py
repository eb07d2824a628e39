"""The page's figures as files, svg and png, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.files.storage import home, whole_file
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.paths import display
from common.progress import announce

if TYPE_CHECKING:
    from evaluate.report_page.build import Report
    from evaluate.report_page.curves import Plot
    from evaluate.report_page.headline import Forest

MARK = "EFUF, evaluate/report.py"  # in each file, so that it is known as ours
FORMATS = ("svg", "png")
HEAD = 4_000  # bytes in which a file says who made it
# Okabe and Ito's palette, told apart by colour-blind readers; each line also has a dash of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222", "#E69F00")
DASHES = ("-", "--", ":", "-.", "-", "--")
INK, GREY = "#222222", "#77726A"
STYLES = {  # of a line's kind on the page
    "now": (COLOURS[0], "-"),
    "before": (GREY, "--"),
    **{f"line-{number}": pair for number, pair in enumerate(zip(COLOURS, DASHES, strict=True))},
}
TONES = {"good": "#17663A", "bad": "#B3261E", "noise": GREY}


@dataclass(frozen=True)
class Figures:
    """The folder that they go into. Raises DataError at once if it is a file."""

    folder: Path | str
    groups: Sequence[Any] = ()  # arguments whose paths are inputs

    def __post_init__(self) -> None:
        folder = home(self.folder, "--figures")
        object.__setattr__(self, "folder", folder)
        if folder.exists() and not folder.is_dir():
            raise DataError(f"--figures {display(folder)} is a file; give a folder")
        check_targets({"figures": folder / "numbers.png"}, self.groups)

    @contextmanager
    def after(self, report: Report) -> Iterator[None]:
        """Each figure in both formats, written over earlier ones of ours once the block has ended well; what the block
        writes is written only if all of them may be. Raises DataError for a foreign file, InUseError, OSError.
        """
        drawn: dict[str, Any] = {name: _plot(plot) for name, plot in report.plots.items()}
        if report.forests:
            drawn["numbers"] = _forest(report.forests)
        folder = Path(self.folder)
        targets = {
            (name, kind): WholeTarget(folder / f"{name}.{kind}", "figures", MARK, _recognise)
            for name in drawn
            for kind in FORMATS
        }
        with taken(list(targets.values())):
            yield
            for (name, kind), target in targets.items():
                _save(drawn[name], target.path, kind)
        announce(f"wrote {len(targets)} figures into {display(folder)}")


def _recognise(path: Path) -> None:
    with path.open("rb") as file:
        if MARK.encode() not in file.read(HEAD):
            raise DataError("no figure of evaluate/report.py")


def _save(figure: Any, path: Path, kind: str) -> None:
    import matplotlib

    metadata = {"Creator": MARK, "Date": None} if kind == "svg" else {"Software": MARK}
    same_names = matplotlib.rc_context({"svg.hashsalt": MARK})  # of the parts of an SVG, else new ones each time
    with same_names, whole_file(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format=kind, metadata=metadata)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: Any, title: str, x_name: str) -> None:
    axes.set_title(_plain(title), fontsize=12, color=INK, loc="left", pad=16)
    axes.set_xlabel(_plain(x_name), fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def _plot(plot: Plot) -> Any:
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    for line in plot.lines:
        xs, ys = zip(*line.points, strict=True)
        colour, dash = STYLES[line.kind]
        axes.plot(xs, ys, dash, color=colour, linewidth=2, label=_plain(line.name))
        if plot.filled:
            axes.fill_between(xs, ys, color=colour, alpha=0.13, linewidth=0)
    for (at, name), side, way in zip(plot.bars, ("right", "left"), (-4, 4), strict=False):
        axes.axvline(at, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (way, 3), "textcoords": "offset points"}
        axes.annotate(f"{name} {at:.2f}", (at, 1.0), **place, ha=side, fontsize=8.5, color=INK)
    axes.set_xlim(plot.x.low, plot.x.high)
    axes.set_ylim(plot.y.low, plot.y.high)
    axes.set_ylabel(_plain(plot.y_name), fontsize=10, color=INK)
    _dress(axes, plot.title, plot.x_name)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _forest(forests: list[Forest]) -> Any:
    """Differences with their intervals, one panel an axis."""
    heights = [len(forest.rows) for forest in forests]
    figure = _figure(7.2, 0.42 * sum(heights) + 1.1 * len(heights))
    panels = figure.subplots(len(forests), 1, height_ratios=heights, squeeze=False)
    for axes, forest in zip(panels[:, 0], forests, strict=True):
        place = _value_at(forest)
        for y, row in enumerate(reversed(forest.rows)):
            colour = TONES[row.tone]
            axes.plot([place(row.low), place(row.high)], [y, y], color=colour, linewidth=2)
            axes.plot(place(row.dot), y, "o", color=colour, markerfacecolor="white" if row.tone == "noise" else colour)
        axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(forest.rows)), [f"{row.name}  {row.change}" for row in reversed(forest.rows)])
        axes.set_ylim(-0.6, len(forest.rows) - 0.4)
        _dress(axes, forest.title, f"difference, {forest.unit}")
    return figure


def _value_at(forest: Forest) -> Callable[[float | None], float]:
    """From a place on the page's axis back to its value."""
    scale = forest.scale

    def value(place: float | None) -> float:
        return scale.low + (place or 0.0) / 100 * (scale.high - scale.low)

    return value
