"""The benches of models and loading, at sizes that two cores bear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import ArgumentError, UserError
from tests.bench import bench_loop, bench_two_cards
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
    assert found["ratios"]["beam5_over_plain_16"] > 0
    beams = next(row for row in found["rows"] if row["what"] == "captions, beam5")
    assert found["minutes"]["captions to mine"] == pytest.approx(10_000 / beams["images_s"] / 60, rel=1e-3)


def test_the_loop_is_reckoned_with_training_in_both_types() -> None:
    rates = {"captions, beam5": 20.0, "scores, ViT-B-32": 400.0}
    rows = [{"what": what, "images_s": rate} for what, rate in rates.items()]
    rows += [{"what": what, "captions_s": 1000.0} for what in ("objects", "spans", "chair")]
    record = {"ratios": {"minutes_30k_spans": 11.0, "minutes_30k_spans_fp8": 8.0}}
    trained = bench_loop.trained(record)
    assert trained["fp8"] == {"samples_s": pytest.approx(50_000 / 480), "minutes_30k_spans": 8.0}
    rows += [{"what": f"training, {name}", **numbers} for name, numbers in trained.items()]
    found = bench_loop.paper_loop(rows, "7b")
    others = (13_200 / 20 + 10_000 / 400 + (20_000 + 3_200) / 1000) / 60
    assert found["minutes_paper_loop"] == pytest.approx(others + 11)
    assert found["minutes_paper_loop_fp8"] == pytest.approx(others + 8)
    assert found["minutes_paper_loop_fp8_in_all_blocks"] is None  # not measured


def test_two_cards_are_compared_by_the_rows_behind_the_warm_up() -> None:
    rows = [
        {"what": "scores", "processes": 1, "images_s": 90.0, "sha256": "warm"},
        {"what": "scores", "processes": 1, "images_s": 100.0, "sha256": "abc"},
        {"what": "scores", "processes": 2, "images_s": 190.0, "sha256": "abc"},
        {"what": "training", "processes": 1, "samples_s": 80.0},
        {"what": "training", "processes": 2, "samples_s": 150.0},
        {"what": "captions", "processes": 1, "images_s": 18.0, "sha256": "x"},
    ]
    assert bench_two_cards.ratios(rows) == {"scores": 1.9, "training": 1.875}
    assert bench_two_cards.paper_loop(rows, "7b") == {}  # nobody measured captions on two cards
    other = [*rows, {"what": "captions", "processes": 2, "images_s": 36.0, "sha256": "y"}]
    with pytest.raises(UserError, match="captions: two processes wrote y, one x"):
        bench_two_cards.ratios(other)
    whole = [*rows, {"what": "captions", "processes": 2, "images_s": 36.0, "sha256": "x"}]
    found = bench_two_cards.paper_loop(whole, "7b")["minutes"]
    assert found["captions to mine"] == pytest.approx(10_000 / 36 / 60)
    assert found["scores"] == pytest.approx(10_000 / 190 / 60)
