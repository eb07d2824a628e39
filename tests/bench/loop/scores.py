"""Relevance scores from JPEG files, as `insight/clip.py` makes them: images a second, and what the card waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from common.files.images import ImageFolder
from common.files.record_files import caption_key
from common.files.storage import ResumableLines
from common.relevance.clip_scorer import ClipScorer, scorer_of
from common.relevance.scoring import RelevanceJob, ScoreSettings
from tests.bench.loop.device_clock import DeviceClock
from tests.bench.loop.photos import records

GROUP = 16  # images, the default of --clip_bs


@dataclass
class WatchedScorer(ClipScorer):
    """A scorer whose device is watched while it works on groups of images."""

    clock: DeviceClock = field(default_factory=lambda: DeviceClock(torch.device("cuda")))

    def embed_images(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        """As the scorer's."""
        with self.clock.piece("groups"):
            return super().embed_images(*args, **kwargs)


def random_scorer(name: str, device: str, dtype: str) -> ClipScorer:
    """An open_clip model of this name with random weights, the same every time."""
    import open_clip

    torch.manual_seed(0)
    precision = {"float32": "fp32", "bfloat16": "pure_bf16"}[dtype]
    model = open_clip.create_model(name, precision=precision, device=device).eval()
    config = open_clip.get_model_preprocess_cfg(model)
    return scorer_of(model, open_clip.get_tokenizer(name), config, device, getattr(torch, dtype))


def score_photos(
    scorer: ClipScorer, folder: Path, names: list[str], out: Path, workers: int | None = None
) -> dict[str, Any]:
    """Score the photos into `out`; images a second from the first group on, and the share that the card waited."""
    device = scorer.device
    if device.startswith("cuda"):
        scorer = WatchedScorer(**{f.name: getattr(scorer, f.name) for f in fields(scorer)})
    job = RelevanceJob(scorer, ImageFolder(folder), ScoreSettings(), GROUP, device, workers)
    out.unlink(missing_ok=True)
    begin = time.perf_counter()
    with ResumableLines(out, caption_key) as lines:
        job.run(records(names), lines)
    seconds = time.perf_counter() - begin
    waited = scorer.clock.waited() if isinstance(scorer, WatchedScorer) else None
    return {"images": len(names), "seconds": round(seconds, 2), "images_s": len(names) / seconds, "card_waits": waited}
