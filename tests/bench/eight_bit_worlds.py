"""The mini world unlearnt over a decoder in 16 and in 8 bits: what each ends with, and the losses on the way.

    python -m tests.bench.leaderboard --jobs 12 --worlds 0,1,2,3,4 --orders 1 --only demo_adapters,demo_adapters_fp8
    python -m tests.bench.eight_bit_worlds --folder runs/leaderboard    # on the GPU that ran them: writes the record
    python -m tests.bench.eight_bit_worlds                              # anywhere: table and figure of the record

The record holds the leaderboard's rows of one recipe in both, and of each run the losses that its manifest has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.storage import read_json, read_record, whole_file, write_json
from common.manifest import git_commit, versions
from common.paths import ROOT, display
from common.progress import announce, say
from tests.bench.board.rows import key_of, read_rows
from tests.bench.board.table import BASE, against_base, columns_of, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECORDS = ROOT / "tests" / "bench" / "records"
IN_EIGHT = "_fp8"  # behind the name of a recipe: the same in 8 bits
COLOURS = {"": "#0072B2", IN_EIGHT: "#D55E00"}  # of the Okabe-Ito palette
DASHES: Mapping[str, Any] = {"": "solid", IN_EIGHT: (0, (4, 2))}
NAMES = {"": "bfloat16", IN_EIGHT: "fp8"}
PARTS = {
    "loss_pos": "grounded spans, kept",
    "loss_neg": "hallucinated spans, unlearnt",
    "loss_sent": "whole captions, kept",
    "loss_repair": "repaired captions, learnt",
    "loss_gold": "own answers, kept",
}


@dataclass
class WorldsArguments:
    """Where runs are, and what is made of them."""

    recipe: str = flag("demo_adapters", "of the leaderboard, which has it with _fp8 behind the name, too")
    folder: str | None = flag(None, "where the leaderboard ran; none: the record is read, not written")
    record: str | None = flag(None, "JSON file; default tests/bench/records/worlds_fp8_RECIPE.json")
    figure: str = flag(str(ROOT / "assets" / "eight_bits.png"), "picture of the losses")


def losses_of(folder: Path, row: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Steps, and the mean token loss of each part at them, of a run's manifest; None where a step has no such span."""
    log = read_json(folder / "runs" / key_of(row).name / "trained" / "trained.safetensors.manifest.json")["log"]
    entries = [entry for entry in log if "loss" in entry]
    names = [name for name in ("step", *PARTS) if any(name in entry for entry in entries)]
    return {name: [entry.get(name) for entry in entries] for name in names}


def of_recipe(rows: Sequence[Mapping[str, Any]], recipe: str, place: Path) -> list[Mapping[str, Any]]:
    """The rows of a recipe in both, and of the base model. Raises DataError where there are none of one of them."""
    for name in (recipe, recipe + IN_EIGHT):
        if not any(row.get("recipe") == name for row in rows):
            raise DataError(f"{display(place)} has no row of the recipe {name}; run the leaderboard, or give --recipe")
    return [row for row in rows if row["recipe"] in (BASE, recipe, recipe + IN_EIGHT)]


def collect(folder: Path, recipe: str) -> dict[str, Any]:
    """The record of a folder. Raises DataError where no run of both kinds has ended."""
    import torch

    rows = of_recipe(read_rows(folder / "rows.jsonl"), recipe, folder / "rows.jsonl")
    trained = [row for row in rows if row["recipe"] != BASE]
    return {
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
        "rows": rows,
        "losses": [{"recipe": r["recipe"], "world": r["world"], **losses_of(folder, r)} for r in trained],
    }


def differences(rows: Sequence[Mapping[str, Any]], recipe: str) -> str:
    """fp8 less bfloat16, world by world: mean and 95 % t interval, in percent."""
    sixteen = {row["world"]: row for row in rows if row["recipe"] == recipe}
    chosen = [row for row in rows if row["recipe"] == recipe + IN_EIGHT]
    cells = [against_base(chosen, sixteen, name) for name in columns_of(rows)]
    return f"| fp8 less bfloat16 | as it is | {len(chosen)} | {' | '.join(cells)} |"


def draw(losses: Sequence[Mapping[str, Any]], recipe: str, path: Path) -> None:
    """Loss of each part over the steps: a thin line a run, a thick one the mean over the worlds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = [name for name in PARTS if any(name in one for one in losses)]
    figure = Figure(figsize=(2.7 * len(parts) + 1, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for axes, name in zip(panels, parts, strict=True):
        _part(axes, [one for one in losses if name in one], recipe, name)
    panels[0].set_ylabel("mean loss of a token, nats", fontsize=9)
    worlds = len({one["world"] for one in losses})
    figure.suptitle(
        f"Training over a decoder in 16 and in 8 bits (thick: mean of {worlds} worlds, thin: each)", size=11
    )
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _part(axes: Axes, losses: Sequence[Mapping[str, Any]], recipe: str, name: str) -> None:
    for kind, colour in COLOURS.items():
        ours = [one for one in losses if one["recipe"] == recipe + kind]
        for one in ours:
            axes.plot(one["step"], one[name], color=colour, linestyle=DASHES[kind], linewidth=0.6, alpha=0.4)
        steps = zip(*(one[name] for one in ours), strict=True)
        middle = [mean(found) if (found := [v for v in values if v is not None]) else None for values in steps]
        axes.plot(ours[0]["step"], middle, color=colour, linestyle=DASHES[kind], linewidth=2.0, label=NAMES[kind])
    axes.set_title(PARTS[name], fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Write the record where a folder is given; print the table, draw the figure."""
    (args,) = parse([WorldsArguments], __doc__ or "")
    path, figure = Path(args.record or RECORDS / f"worlds_fp8_{args.recipe}.json"), Path(args.figure)
    if args.folder:
        write_json(path, collect(Path(args.folder), args.recipe))
    record = read_record(path, dict[str, Any])
    rows = of_recipe(record.get("rows", []), args.recipe, path)
    say(table(rows, [BASE, args.recipe, args.recipe + IN_EIGHT]))
    say(differences(rows, args.recipe))
    draw(record["losses"], args.recipe, figure)
    announce(f"{display(path)}, {display(figure)}")


if __name__ == "__main__":
    run(main)
