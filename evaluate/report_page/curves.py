"""Curves of the page: how scores and lengths spread, and how training went. Places are percent of a plot's sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.files.storage import read_json, read_json_lines
from common.manifest import manifest_path
from common.page.charts import Scale, path, scale_of
from common.paths import display
from evaluate.report_page.evidence import Evidence
from evaluate.report_page.labels import Labelled
from evaluate.report_page.scorer import Scorer

POINTS = 160  # of a density
PROBES = "probe.jsonl"
WEIGHTS = "trained.safetensors"


@dataclass(frozen=True)
class Line:
    """One curve: its name, its values, and a style class."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str


@dataclass(frozen=True)
class Plot:
    """Curves over one pair of axes.

    Attributes:
        bars: places on the horizontal axis that a line across marks, with what they are.
        filled: whether the area below the curves is shaded.
    """

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    x: Scale
    y: Scale
    bars: Sequence[tuple[float, str]] = ()
    filled: bool = False

    def path(self, line: Line) -> str:
        """A curve as an SVG path."""
        return path((self.x(x), self.y(y)) for x, y in line.points)

    def area(self, line: Line) -> str:
        """The shape below a curve."""
        ends = (line.points[-1][0], 0.0), (line.points[0][0], 0.0)
        return path((self.x(x), self.y(y)) for x, y in (*line.points, *ends)) + "Z"

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Places of the bars that lie on the axis."""
        return [(self.x(at), name) for at, name in self.bars if self.x.low <= at <= self.x.high]


def plot_of(
    title: str, x_name: str, y_name: str, lines: Sequence[Line], *, bars: Sequence[tuple[float, str]] = (), **more: Any
) -> Plot | None:
    """A plot of the lines that hold anything; None if none does."""
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    x = scale_of((at for line in lines for at, _ in line.points), most=7)
    zero = bool(more.get("filled")) or min(v for line in lines for _, v in line.points) >= 0
    y = scale_of((value for line in lines for _, value in line.points), 100.0, 0.0, zero=zero, most=5)
    return Plot(title, x_name, y_name, lines, x, y, bars, **more)


def density(values: Sequence[float], low: float, high: float) -> list[tuple[float, float]]:
    """Gaussian kernel density (Scott's bandwidth) between two ends; nothing where it is not defined."""
    from scipy.stats import gaussian_kde

    if len(set(values)) < 2:
        return []
    grid = np.linspace(low, high, POINTS)
    return list(zip(grid.tolist(), gaussian_kde(np.asarray(values))(grid).tolist(), strict=True))


def score_plot(scorer: Scorer, labelled: Labelled) -> Plot | None:
    """How the scores of all objects spread, by truth where it is known, and where the thresholds cut."""
    values = scorer.values()
    if len(values) < 2:
        return None
    margin = 0.08 * (max(values) - min(values)) or 1.0
    ends = min(values) - margin, max(values) + margin
    lines = [Line(f"{len(values):,} objects, truth unknown", density(values, *ends), "now")]
    if labelled.present or labelled.hallucinated:
        kinds = (
            ("not in the picture", labelled.hallucinated, "line-1"),
            ("in the picture", labelled.present, "line-2"),
        )
        lines = [Line(f"{name} ({len(some):,})", density(some, *ends), kind) for name, some, kind in kinds]
    cut = scorer.cut
    bars = [(cut.hallucinated, "hallucinated below"), (cut.grounded, "grounded above")] if cut else []
    return plot_of("Scores", "score", "density", lines, bars=bars, filled=True)


def length_plot(evidence: Evidence) -> Plot | None:
    """How the lengths of the captions spread."""
    sides = [("before", evidence.before), ("now", evidence.after)]
    words = {kind: [r.words for r in side.readings.values()] for kind, side in sides if side is not None}
    everything = [value for values in words.values() for value in values]
    margin = 0.08 * (max(everything) - min(everything)) or 1.0
    low, high = max(0.0, min(everything) - margin), max(everything) + margin
    names = {"before": "before", "now": "after"} if len(words) > 1 else {"before": "captions"}
    lines = [Line(names[kind], density(values, low, high), kind) for kind, values in words.items()]
    return plot_of("Lengths", "words in a caption", "density", lines, filled=True)


@dataclass(frozen=True)
class Training:
    """What a training run noted: its manifest, the lines of its log, and of its probe."""

    folder: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    probes: Sequence[Mapping[str, Any]] = ()

    def plots(self) -> list[Plot]:
        """Losses, and what the probe saw."""
        losses = sorted({name for entry in self.log for name in entry if _is_loss(name)}, key=_order)
        lines = [Line(_said(name), _series(self.log, name), _style(number)) for number, name in enumerate(losses)]
        probed = {"share": "mentions below the threshold", "repetition": "captions that repeat"}
        shares = [Line(said, _series(self.probes, n), _style(i)) for i, (n, said) in enumerate(probed.items())]
        counted = {"mentions": "mentions", "objects": "different objects", "grounded": "grounded objects"}
        counts = [Line(said, _series(self.probes, n), _style(i)) for i, (n, said) in enumerate(counted.items())]
        found = (
            plot_of("Losses", "step", "loss", lines),
            plot_of("Probe, without labels", "step", "share", shares),
            plot_of("Probe, in a caption", "step", "objects", counts),
        )
        return [plot for plot in found if plot is not None]


def read_training(folder: Path | None) -> Training | None:
    """The log and the probe of a training; None without a folder. Raises DataError for malformed files."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"no folder {display(folder)} (from --trained_path)")
    beside = manifest_path(folder / WEIGHTS)
    noted = read_json(beside) if beside.is_file() else {}
    log = noted.get("log") if isinstance(noted, dict) else None
    probes = [value for _, value in read_json_lines(folder / PROBES)] if (folder / PROBES).is_file() else []
    entries = [entry for entry in log if isinstance(entry, dict)] if isinstance(log, list) else []
    return Training(folder, noted if isinstance(noted, dict) else {}, entries, probes)


def _is_loss(name: str) -> bool:
    return "loss" in name and name != "train_loss"


def _order(name: str) -> tuple[bool, str]:
    return name.startswith("eval_"), name


def _said(name: str) -> str:
    """The name of a loss in words."""
    return name.removeprefix("eval_").replace("_", " ") + (" (validation)" if name.startswith("eval_") else "")


def _style(number: int) -> str:
    return f"line-{number % 6}"


def _series(entries: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Step and value wherever both are numbers."""
    return [
        (float(entry["step"]), float(entry[name]))
        for entry in entries
        if _is_number(entry.get("step")) and _is_number(entry.get(name))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
