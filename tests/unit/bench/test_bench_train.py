"""The training benchmark: the statistics of what it trains on, its arithmetic, and a run on the CPU."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.errors import ArgumentError
from finetune.corpus.records import SENT
from finetune.steps.packs import PackPlan
from tests.bench.bench_train import TrainBenchArguments
from tests.bench.number_lists import whole_numbers
from tests.bench.train.items import SHAPES, batches, captions_of, synthetic_captions
from tests.bench.train.steps import model_tflop, parameters_of
from tests.bench.train.table import table


@pytest.mark.parametrize(("images", "captions"), [(25, 1), (17, 5), (11, 12)])
def test_batches_have_the_published_statistics_and_one_size(images: int, captions: int) -> None:
    plan, shape = PackPlan(576, shares=True), SHAPES["7b"]
    expected = 35 + images * (576 + 10 + captions * 75)
    spans = []
    for items in islice(batches(shape, [], images, captions, 32000), 20):
        assert plan.tokens(plan.units(items)) == expected <= shape.pack
        assert len(items) == images * captions and len({item.image for item in items}) == images
        assert all(0 <= span.start < span.end <= len(item.ids) for item in items for span in item.spans)
        assert all(item.spans[-1].kind == SENT and item.spans[-1].end == len(item.ids) for item in items)
        spans.append(sum(len(item.spans) for item in items) / len(items))
    assert sum(spans) / len(spans) == pytest.approx(2.5, abs=0.02)


def test_lengths_of_captions_differ() -> None:
    lengths = [caption.tokens for caption in synthetic_captions(SHAPES["7b"], 40, random.Random(1))]
    assert sum(lengths) == 40 * 75 and len(set(lengths)) > 10 and all(60 <= length <= 90 for length in lengths)


def test_statistics_of_a_real_set(tmp_path: Path) -> None:
    caption = "a dog on a bench and a cat by the door"  # 11 words: 14 tokens
    spans = [{"image": "1.jpg", "sentence": caption[:16], "score": 40.0, "position": 6}]
    sentences = [{"image": "1.jpg", "sentence": caption, "mean": 30.0, "min": 25.0, "max": 33.0, "std": 1.0}]
    files = [tmp_path / "pos_neg.json", tmp_path / "sentences.json"]
    for file, records in zip(files, (spans, sentences), strict=True):
        file.write_text(json.dumps(records))
    (found,) = captions_of(*files)
    assert found.tokens == 14 and found.spans == ((2, 6),)  # words 3 to 5 of 11


def test_model_flops() -> None:
    model: Any = nn.Module()
    model.lm = nn.Sequential(nn.Linear(1000, 2000), nn.LayerNorm(2000), nn.Linear(2000, 500))
    assert parameters_of(model.lm) == 3_000_000
    assert model_tflop(model, 1_000_000) == pytest.approx(4 * 3e6 * 1e6 / 1e12)


def test_a_table() -> None:
    row = {"what": "x", "tokens": 10, "samples": 2.5, "seconds": 0.5, "samples_per_s": 5.0}
    text = table([row | {"tflops": 3.0, "ceiling_share": 0.25, "peak_gib": 1.0}], {"ratio": 2.0})
    assert "| x | 10 | 2.5 | 500 | 5.0 | 3 | 25% | 1.0 |" in text and text.endswith("ratio: 2")


@pytest.mark.slow
def test_a_run_on_the_cpu(tmp_path: Path) -> None:
    from tests.bench.train.bench import TrainBench

    args = TrainBenchArguments(
        captions_per_image="1,3", steps=1, tokens_per_batch=256, ablate=False, device="cpu", stats=[]
    )
    bench = TrainBench(args, tmp_path / "record.json")
    bench.measure()
    record = json.loads((tmp_path / "record.json").read_text())
    assert record.keys() >= {"card", "versions", "date", "commit", "rows", "ratios"} and not record["failed"]
    assert record["ratios"].keys() >= {"captions_per_image_1", "captions_per_image_3", "ceiling_share", "waiting_share"}
    rows = {row["what"]: row for row in record["rows"]}
    engine = rows["engine, 3 captions an image"]
    assert engine["samples_per_s"] == pytest.approx(engine["samples"] / engine["seconds"])
    assert engine["ceiling_share"] == pytest.approx(engine["tflops"] / rows["matrix product"]["tflops"])
    assert engine["sustained_share"] == pytest.approx(engine["tflops"] / rows["matrix product, sustained"]["tflops"])
    assert record["ratios"]["sustained_share"] >= engine["sustained_share"]


def test_full_size_needs_a_gpu(tmp_path: Path) -> None:
    from tests.bench.train.bench import TrainBench

    with pytest.raises(ArgumentError, match="needs a GPU"):
        TrainBench(TrainBenchArguments(size="7b", device="cpu", stats=[]), tmp_path / "x.json")
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("text", ["", "x", "1,,2", "1.5", "-1", "0", "5,5", "²", "9" * 5000])
def test_lists_of_numbers_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"^--captions_per_image") as raised:
        whole_numbers(text, "--captions_per_image", least=1)
    assert len(str(raised.value)) < 200
    assert whole_numbers("1, 5,12", "--captions_per_image") == [1, 5, 12]
