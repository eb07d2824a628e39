"""Losses over the steps of runs side by side, from their manifests: one line a kind of run, the mean over its worlds.

    python -m tests.bench.loss_figure --folder runs/leaderboard --recipes lora,lora_fp8,lora_fp8_all

Reads `runs/RECIPE-worldN-order0/trained/trained.safetensors.manifest.json` as `tests.bench.leaderboard` leaves them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.storage import read_json, whole_file
from common.paths import ROOT, display
from common.progress import announce

MANIFEST = "trained/trained.safetensors.manifest.json"
PARTS = {"loss_pos": "grounded spans", "loss_neg": "hallucinated spans", "loss_sent": "sentences"}
STYLES = ("-", "--", ":", "-.")


@dataclass
class LossFigureArguments:
    """What to draw."""

    folder: str = flag("runs/leaderboard", "of tests.bench.leaderboard")
    recipes: str = flag("lora,lora_fp8", "names of recipes, separated by commas; a style of line each")
    output_path: str = flag(str(ROOT / "assets" / "fp8_losses.png"), "PNG file to write")


def losses_of(folder: Path, recipe: str) -> dict[str, dict[int, float]]:
    """Part -> step -> mean loss over the runs of a recipe. Raises DataError if there are none."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    manifests = sorted(folder.glob(f"runs/{recipe}-world*/{MANIFEST}"))
    if not manifests:
        raise DataError(f"no {display(folder)}/runs/{recipe}-world*/{MANIFEST}; run tests.bench.leaderboard before")
    for manifest in manifests:
        for entry in read_json(manifest)["log"]:
            for part in PARTS:
                if part in entry:
                    found[part][entry["step"]].append(entry[part])
    return {part: {step: mean(values) for step, values in steps.items()} for part, steps in found.items()}


def draw(curves: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """One panel a part, one line a recipe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (part, title) in zip(figure.subplots(1, len(PARTS)), PARTS.items(), strict=True):
        for style, (recipe, found) in zip(STYLES, curves.items(), strict=False):
            steps = found.get(part, {})
            axes.plot(list(steps), list(steps.values()), style, label=recipe, linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mean loss of a token", fontsize=8)
    figure.axes[-1].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> None:
    """Parse, read and draw."""
    (args,) = parse([LossFigureArguments], __doc__ or "")
    path = Path(args.output_path)
    recipes = args.recipes.split(",")[: len(STYLES)]
    draw({recipe: losses_of(Path(args.folder), recipe) for recipe in recipes}, path)
    announce(f"written to {display(path)}")


if __name__ == "__main__":
    run(main)
