"""The whole loop at the speed of the card: captions, objects, scores, spans and CHAIR, each beside the plain way.

    python -m tests.bench.bench_loop --size 7b     # one GPU; LLaVA-1.5's shape and open_clip's, random weights
    python -m tests.bench.bench_loop --size mini   # anywhere: the bundled shapes, to try the script itself

Works on JPEG files that it writes; captions end at lengths drawn from real ones (the test data, or `--captions_path`).
Prints a line a row and writes loop_SIZE.json after each stage; rows of stages that are not asked for stay in it.
`minutes_paper_loop` reckons the paper's loop from these rates: 10,000 images captioned with five beams, their objects
and scores, the spans, an epoch over 30,000 of them, and 1,600 images captioned before and after, with CHAIR. Training
is `bench_train`'s, with one caption an image, in bfloat16; `minutes_paper_loop_fp8` has it with `--decoder_dtype fp8`.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from common.args import flag, parse
from common.cli import run
from common.files.storage import read_json, write_json
from common.manifest import git_commit, versions
from common.models.resolve import resolve_device
from common.paths import ROOT, display
from common.progress import announce, say
from tests.bench.loop.captions import Lengths, Way, make_captions, make_plainly, weight_bytes
from tests.bench.loop.objects import find_objects
from tests.bench.loop.photos import real_captions, write_photos
from tests.bench.loop.scores import random_scorer, score_photos
from tests.bench.loop.spans import judge_captions, mine_spans
from tests.bench.models.random_models import random_model

RECORDS = ROOT / "tests" / "bench" / "records"
STAGES = ("captions", "plain", "scores", "objects", "spans", "chair", "training")
MINED, EVALUATED = 10_000, 1_600  # images of the paper
SAMPLES = 50_000  # of an epoch over 30,000 spans


@dataclass(frozen=True)
class Load:
    """How much is done."""

    scale: str
    scored: tuple[tuple[str, int], ...]  # scorers, and the images of each
    images: int  # captioned greedily; twice as many with beams, as the paper's loop does; a quarter with samples
    captions: int
    longest: int


LOADS = {
    "7b": Load("7b", (("ViT-B-32", 3200), ("ViT-L-14", 512)), 512, 6400, 200),
    "mini": Load("tiny", (("ViT-B-32", 2),), 8, 96, 12),
}


@dataclass
class LoopBenchArguments:
    """What to measure."""

    size: str = flag("7b", "7b on a GPU, mini anywhere", tuple(LOADS))
    stages: str = flag(",".join(STAGES), "some of them, with commas")
    captions_path: str | None = flag(None, "real captions (JSON Lines); default: of the test data")
    record_path: str | None = flag(None, "of the record; default: tests/bench/records/loop_SIZE.json")


@dataclass
class LoopBench:
    """Measures, prints and writes."""

    args: LoopBenchArguments
    load: Load
    folder: Path
    device: torch.device
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of the record."""
        return Path(self.args.record_path or RECORDS / f"loop_{self.args.size}.json")

    def run(self) -> None:
        """All stages that were asked for; one that fails is noted, and the others go on. Rows of others are kept."""
        stages = self.args.stages.split(",")
        if self.path.is_file():
            self.rows = [row for row in read_json(self.path)["rows"] if row["what"].partition(",")[0] not in stages]
        self.captions = real_captions(self.load.captions, Path(p) if (p := self.args.captions_path) else None)
        self.photos = self.folder / "photos"
        self.names = write_photos(self.photos, max(2 * self.load.images, *(count for _, count in self.load.scored)))
        work: dict[str, Callable[[], None]] = {
            "captions": self.make_captions,
            "plain": self.make_plainly,
            "scores": self.score,
            "objects": lambda: self.note("objects", **find_objects(self.captions, min(256, self.load.captions))),
            "spans": lambda: self.note("spans", **mine_spans(self.captions, self.folder / "spans")),
            "chair": lambda: self.note("chair", **judge_captions(self.captions[:EVALUATED])),
            "training": self.train,
        }
        for stage in stages:
            try:
                work[stage]()
            except Exception as error:
                self.failed[stage] = f"{type(error).__name__}: {error}"[:300]
                announce(f"{stage} failed: {self.failed[stage]}")
            forget()
            self.write()

    def note(self, what: str, **numbers: Any) -> None:
        """Print a row and keep it."""
        row = {"what": what, **{k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}}
        row["commit"] = os.environ.get("EFUF_COMMIT") or git_commit()
        self.rows.append(row)
        say(json.dumps(row))

    def make_captions(self) -> None:
        """Greedy, five samples and five beams, from files to text; once before that is not counted."""
        model = random_model("llava", self.device, self._dtype(), self.load.scale)
        lengths = Lengths.of(self.captions, self.load.longest)
        out = self.folder / "captions.jsonl"
        for what, way, share in (("greedy", Way(), 1.0), ("samples5", Way(1, 5), 0.25), ("beam5", Way(5), 2.0)):
            names = self.names[: max(4, int(self.load.images * share))]
            make_captions(model, self.photos, names[: max(1, len(names) // 16)], way, lengths, out)
            self.note(f"captions, {what}", **make_captions(model, self.photos, names, way, lengths, out))

    def make_plainly(self) -> None:
        """transformers' generate, one image at a time and sixteen, to the same lengths."""
        model = random_model("llava", self.device, self._dtype(), self.load.scale)
        lengths = Lengths.of(self.captions, self.load.longest)
        for together, count in ((1, 2), (16, 16)):
            found = make_plainly(model, self.photos, self.names[:count], 5, together, lengths)
            self.note(f"plain, beam5, {together} at a time", **found)

    def score(self) -> None:
        """Each scorer, with warm workers and kernels."""
        for name, count in self.load.scored:
            scorer = random_scorer(name, str(self.device), "bfloat16" if self.device.type == "cuda" else "float32")
            out = self.folder / "scores.jsonl"
            score_photos(scorer, self.photos, self.names[: count // 8 or 1], out)
            found = score_photos(scorer, self.photos, self.names[:count], out)
            self.note(f"scores, {name}", **found)
            del scorer

    def train(self) -> None:
        """An epoch's minutes by `bench_train`, in a process of its own."""
        record = self.folder / "train.json"
        flags = ["--captions_per_image", "1", "--decoder_dtype", "fp8", "--memory", "no", "--ablate", "no"]
        command = [sys.executable, "-m", "tests.bench.bench_train", "--size", self.args.size, "--record", str(record)]
        done = subprocess.run([*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        for name, numbers in trained(read_json(record)).items():
            self.note(f"training, {name}", **numbers)
        if done.returncode:
            raise RuntimeError(f"bench_train ended with {done.returncode}; what it measured is kept")

    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def write(self) -> None:
        """The record as it is now."""
        record = {
            "card": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "versions": versions(),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
            "rows": self.rows,
            "rates": rates(self.rows),
            "ratios": ratios(self.rows),
            **paper_loop(self.rows, self.args.size),
            "failed": self.failed,
        }
        write_json(self.path, record)
        announce(display(self.path))


def forget() -> None:
    """Give back what a stage held of the card, for the processes of the next one."""
    weight_bytes.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def trained(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Samples a second and minutes of an epoch over 30,000 spans, in the types that `bench_train`'s record has."""
    found = {}
    for name in ("bfloat16", "fp8", "fp8 in all blocks"):
        kind = "" if name == "bfloat16" else f"_{name}"
        minutes = record["ratios"].get(f"minutes_30k_spans{kind}")
        if minutes is not None:
            found[name] = {"samples_s": SAMPLES / minutes / 60, "minutes_30k_spans": minutes}
    return found


RATES = {
    "greedy_tokens_s": ("captions, greedy", "tokens_s"),
    "samples5_tokens_s": ("captions, samples5", "tokens_s"),
    "beam5_tokens_s": ("captions, beam5", "tokens_s"),
    "clip_vit_b_32_images_s": ("scores, ViT-B-32", "images_s"),
    "clip_vit_l_14_images_s": ("scores, ViT-L-14", "images_s"),
    "objects_captions_s": ("objects", "captions_s"),
}


def rates(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """What the rows say of each; None for what was not measured."""
    found = {row["what"]: row for row in rows}
    return {name: found[what][key] if what in found else None for name, (what, key) in RATES.items()}


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Tokens of finished text with five beams, against the plain ways that were measured."""
    found = {row["what"]: row["tokens_s"] for row in rows if "tokens_s" in row}
    ours = found.get("captions, beam5")
    plain = {count: found.get(f"plain, beam5, {count} at a time") for count in (1, 16)}
    return {f"beam5_over_plain_{count}": ours / rate for count, rate in plain.items() if ours and rate}


def paper_loop(rows: Sequence[dict[str, Any]], size: str) -> dict[str, Any]:
    """Minutes of the paper's loop by stage, and their sum where every stage is known."""
    found = {row["what"]: row for row in rows}
    asked = {
        "captions to mine": ("captions, beam5", "images_s", MINED),
        "objects": ("objects", "captions_s", MINED),
        "scores": ("scores, ViT-B-32", "images_s", MINED),
        "spans": ("spans", "captions_s", MINED),
        "captions before and after": ("captions, beam5", "images_s", 2 * EVALUATED),
        "CHAIR": ("chair", "captions_s", 2 * EVALUATED),
    }
    minutes = {
        stage: count / found[what][key] / 60 if what in found else None for stage, (what, key, count) in asked.items()
    }
    whole = {}
    for name, key in TRAININGS.items():
        minutes["training"] = _training(found, name, size)
        known = [m for m in minutes.values() if m is not None]
        whole[key] = sum(known) if len(known) == len(minutes) else None
    minutes["training"] = _training(found, "bfloat16", size)
    return {"minutes": minutes, **whole}


TRAININGS = {
    "bfloat16": "minutes_paper_loop",
    "fp8": "minutes_paper_loop_fp8",
    "fp8 in all blocks": "minutes_paper_loop_fp8_in_all_blocks",
}


def _training(found: dict[str, dict[str, Any]], name: str, size: str) -> float | None:
    """Minutes of this run; in bfloat16 of the record of `bench_train`, where training was not asked for."""
    row = found.get(f"training, {name}")
    if row is not None:
        return float(row["minutes_30k_spans"])
    record = RECORDS / f"train_{size}.json"
    return (
        trained(read_json(record))["bfloat16"]["minutes_30k_spans"] if name == "bfloat16" and record.is_file() else None
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    (args,) = parse((LoopBenchArguments,), "Speed of the whole loop", argv)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        LoopBench(args, LOADS[args.size], Path(folder), resolve_device("auto")).run()


if __name__ == "__main__":
    run(main)
