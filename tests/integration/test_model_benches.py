"""The benches of models and loading, at sizes that two cores bear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import ArgumentError
from tests.bench import bench_loop
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


@pytest.mark.slow
def test_the_loops_bench_writes_its_record_with_every_stage(tmp_path: Path) -> None:
    """The mini size of `bench_loop`, without the scorer, whose smallest named shape takes minutes on two cores."""
    texts = [f"A dog sits {n} steps from a table. There is a red bus beside a bench." for n in range(40)]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps({"caption": text}) + "\n" for text in texts))
    record = tmp_path / "loop.json"
    flags = ["--size", "mini", "--stages", "captions,plain,objects,chair", "--record_path", str(record)]
    bench_loop.main([*flags, "--captions_path", str(tmp_path / "captions.jsonl")])
    found = json.loads(record.read_text())
    assert found["failed"] == {}
    for name in ("greedy_tokens_s", "samples5_tokens_s", "beam5_tokens_s", "objects_captions_s"):
        assert found["rates"][name] > 0
    assert found["rates"]["clip_vit_b_32_images_s"] is None
    assert found["minutes_paper_loop"] is None  # nobody measured the scores
    beams = next(row for row in found["rows"] if row["what"] == "captions, beam5")
    assert found["minutes"]["captions to mine"] == pytest.approx(10_000 / beams["images_s"] / 60, rel=1e-3)
