"""What the loop does between its models: spans from scores, and CHAIR. One core of the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.files.record_files import objects_to_json
from common.files.records import CaptionObjects
from common.objects.spacy_extractor import SpacyExtractor
from common.paths import ROOT
from evaluate.chair.counting import score_caption
from evaluate.chair.parser import ChairParser

SAMPLE = 512  # captions whose objects are found; more are the same again


def mine_spans(captions: list[str], folder: Path) -> dict[str, Any]:
    """Captions a second through `finetune/format_data.py`, with scores drawn as of photos; its start is included."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    found = list(SpacyExtractor().extract(captions[:SAMPLE]))
    scores = folder / "scores.jsonl"
    with scores.open("w", encoding="utf-8") as file:
        for i in range(len(captions)):
            mentions = tuple(replace(m, score=round(float(random.normal(27, 4)), 4)) for m in found[i % len(found)])
            record = CaptionObjects(f"{i + 1:012d}.jpg", i + 1, captions[i % len(found)], mentions)
            file.write(json.dumps(objects_to_json(record)) + "\n")
    flags = ["--score_data_path", str(scores), "--pos_neg_data_path", str(folder / "pos_neg.json")]
    flags += ["--sentence_data_path", str(folder / "sentences.json")]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "finetune.format_data", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-300:])
    return {"captions": len(captions), "captions_s": len(captions) / (time.perf_counter() - begin)}


def judge_captions(captions: list[str]) -> dict[str, Any]:
    """Captions a second through CHAIR's standard counting."""
    parser = ChairParser()
    score_caption(parser, captions[0], ("person",))
    begin = time.perf_counter()
    for caption in captions:
        score_caption(parser, caption, ("person", "dog"))
    return {"captions": len(captions), "captions_s": len(captions) / (time.perf_counter() - begin)}
