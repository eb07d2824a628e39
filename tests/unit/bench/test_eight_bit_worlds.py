"""What the mini world's losses and results are compared by: rows and manifests of a leaderboard's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from common.errors import DataError
from tests.bench.board.rows import Run
from tests.bench.board.table import BASE, SCORES
from tests.bench.eight_bit_worlds import IN_EIGHT, collect, differences, draw

SIXTEEN, EIGHT = "adapters", "adapters" + IN_EIGHT


def add(folder: Path, recipe: str, world: int, score: float) -> None:
    """A row, and what a run leaves."""
    row = {"recipe": recipe, "world": world, "order": 0, "auroc": 0.0, **dict.fromkeys(SCORES, score)}
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    trained = folder / "runs" / Run(recipe, world, 0, 0.0).name / "trained"
    trained.mkdir(parents=True)
    log = [{"loss": 3.0 / step, "loss_neg": 1.0 * step, "loss_pos": 2.0, "step": step} for step in (2, 4)]
    without = {"loss": 1.0, "loss_pos": 2.0, "step": 6}
    note = {"log": [*log, without, {"train_runtime": 1.0, "step": 6}]}
    (trained / "trained.safetensors.manifest.json").write_text(json.dumps(note))


def test_the_difference_is_taken_world_by_world_and_losses_are_drawn(tmp_path: Path) -> None:
    for world, (sixteen, eight) in enumerate(((0.1, 0.12), (0.3, 0.36))):
        add(tmp_path, BASE, world, 0.7)
        add(tmp_path, SIXTEEN, world, sixteen)
        add(tmp_path, EIGHT, world, eight)
    record = collect(tmp_path, SIXTEEN)
    assert [(one["recipe"], one["world"]) for one in record["losses"]] == [
        (SIXTEEN, 0), (EIGHT, 0), (SIXTEEN, 1), (EIGHT, 1),
    ]  # fmt: skip
    assert record["losses"][0] == {
        "recipe": SIXTEEN, "world": 0, "step": [2, 4, 6], "loss_pos": [2.0, 2.0, 2.0],
        "loss_neg": [2.0, 4.0, None],
    }  # fmt: skip
    # 2 and 6 points: mean 4, deviation 2.83, so 12.706 * 2.83 / root 2 = 25.4 to each side
    assert differences(record["rows"], SIXTEEN).split(" | ")[3] == "+4.0 [-21.4, +29.4]"
    draw(record["losses"], SIXTEEN, tmp_path / "losses.png")
    assert Image.open(tmp_path / "losses.png").size[0] > 600


def test_runs_of_one_kind_are_no_comparison(tmp_path: Path) -> None:
    add(tmp_path, SIXTEEN, 0, 0.1)
    with pytest.raises(DataError, match="no row of the recipe adapters_fp8"):
        collect(tmp_path, SIXTEEN)
