"""The benches of models and loading, at sizes that two cores bear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import ArgumentError
from tests.bench.bench_loading import LoadingArguments, measure_loading
from tests.bench.bench_models import COLUMNS, BenchArguments, bench


@pytest.mark.slow
def test_loading_needs_little_more_than_the_model(tmp_path: Path) -> None:
    row = measure_loading(LoadingArguments(fraction=16, folder=str(tmp_path)))
    assert row["layers"] == 2 and row["size_gib"] == pytest.approx(1.85, rel=0.02)
    assert 0.9 < row["cpu_ratio"] < 1.15
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_table_has_a_row_for_every_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bench(BenchArguments(scale="tiny", device="cpu", new_tokens=4, record=str(tmp_path / "record.json")))
    record = json.loads(path.read_text())
    assert [row["model"] for row in record["rows"]] == ["llava", "share4v", "owl", "minigpt"]
    assert all(set(row) == set(COLUMNS) and row["tokens"] == 4 and row["step_s"] > 0 for row in record["rows"])
    assert capsys.readouterr().out.count("\n| ") == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_full_size_without_a_gpu_is_refused() -> None:
    with pytest.raises(ArgumentError, match="full size needs a GPU"):
        bench(BenchArguments(scale="7b", device="cpu"))
