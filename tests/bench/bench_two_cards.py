"""Two cards against one: scores, captions with five beams, training steps; the same bytes, and how much faster.

    python -m tests.bench.bench_two_cards --size 7b     # two GPUs of one host
    python -m tests.bench.bench_two_cards --size mini   # anywhere: two processes on the CPU, to try the script itself

What one card makes is measured first, two stages at a time, each on a card of its own; then both work together, one
stage after another. Writes two_cards_SIZE.json with the minutes of the paper's loop on two cards: rates
of this run, and of `bench_loop` for what needs no card. Stages that are not asked for stay as the record has them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from common.args import flag, parse
from common.cli import run
from common.errors import UserError
from common.files.storage import read_json, write_json
from common.manifest import git_commit, versions
from common.paths import ROOT, display
from common.processes import without_launcher
from common.progress import announce, batches, say
from tests.bench.bench_loop import EVALUATED, MINED, RECORDS
from tests.bench.loop.photos import write_photos

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
PHOTOS = {"7b": {"scores": MINED, "captions": 1024}, "mini": {"scores": 2, "captions": 8}}
RATE = {"scores": "images_s", "captions": "images_s", "training": "samples_s"}


@dataclass
class TwoCardsArguments:
    """What to measure."""

    size: str = flag("7b", "7b on two GPUs, mini anywhere", tuple(PHOTOS))
    stages: str = flag("scores,captions,training", "some of them, with commas")
    captions_path: str | None = flag(None, "real captions, for their lengths; default: of the test data")
    record_path: str | None = flag(None, "of the record; default: tests/bench/records/two_cards_SIZE.json")


@dataclass
class TwoCards:
    """Starts the processes, and keeps what they print."""

    args: TwoCardsArguments
    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def measure(self) -> None:
        """One card at each stage, then both."""
        stages = self.args.stages.split(",")
        write_photos(self.folder / "photos", max(PHOTOS[self.args.size].values()))
        for some in batches(stages, max(1, torch.cuda.device_count())):
            self._run([(("-m", *self._stage(stage, "one")), str(card)) for card, stage in enumerate(some)])
        for stage in stages:
            self._run([(("-m", *TORCHRUN, *self._stage(stage, "two")), "0,1")])

    def _run(self, commands: Sequence[tuple[Sequence[str], str]]) -> None:
        """Run commands side by side, each on cards of its own, and keep the rows that they print."""
        with ExitStack() as stack:
            for process in [stack.enter_context(started(*one)) for one in commands]:
                for row in rows_of(process):
                    self.rows.append({**row, "commit": os.environ.get("EFUF_COMMIT") or git_commit()})
                    say(json.dumps(self.rows[-1]))

    def _stage(self, stage: str, out: str) -> Iterator[str]:
        """Module and flags of a stage."""
        if stage == "training":
            yield from ("tests.bench.train_shared", "--size", self.args.size)
            return
        counts = {name: count if name == stage else 0 for name, count in PHOTOS[self.args.size].items()}
        yield from ("tests.bench.loop_shared", "--folder", str(self.folder), "--out", out)
        yield from ("--scored", str(counts["scores"]), "--captioned", str(counts["captions"]), "--beams", "5")
        yield from ("--scale", "7b" if self.args.size == "7b" else "tiny")
        if self.args.captions_path:
            yield from ("--captions_path", self.args.captions_path)


def started(command: Sequence[str], cards: str) -> subprocess.Popen[str]:
    """Python with these arguments, which sees these cards."""
    environment = {**without_launcher(dict(os.environ)), "CUDA_VISIBLE_DEVICES": cards}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def rows_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The JSON lines that it printed, once it has ended. Raises UserError if it failed."""
    printed, _ = process.communicate()
    if process.returncode:
        raise UserError(f"a process of this bench ended with {process.returncode}: {process.args!r:.200}")
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def last(rows: Sequence[dict[str, Any]], what: str, processes: int) -> dict[str, Any] | None:
    """The row of a stage that counts: the last, those before it warmed up."""
    return next((r for r in reversed(rows) if r["what"] == what and r["processes"] == processes), None)


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How many times as fast two are. Raises UserError where two wrote other bytes than one."""
    found = {}
    for what, rate in RATE.items():
        one, two = last(rows, what, 1), last(rows, what, 2)
        if one is None or two is None:
            continue
        if one.get("sha256") != two.get("sha256"):
            raise UserError(f"{what}: two processes wrote {two['sha256']}, one {one['sha256']}")
        found[what] = round(two[rate] / one[rate], 3)
    return found


def paper_loop(rows: Sequence[dict[str, Any]], size: str) -> dict[str, Any]:
    """Minutes of the paper's loop on two cards, where everything that it takes was measured."""
    recorded, faster = RECORDS / f"loop_{size}.json", ratios(rows)
    if not recorded.is_file() or set(faster) != set(RATE):
        return {}
    minutes = dict(read_json(recorded)["minutes"])
    captions, scores = last(rows, "captions", 2), last(rows, "scores", 2)
    assert captions is not None and scores is not None
    minutes["captions to mine"] = MINED / captions["images_s"] / 60
    minutes["captions before and after"] = 2 * EVALUATED / captions["images_s"] / 60
    minutes["scores"] = MINED / scores["images_s"] / 60
    minutes["training"] /= faster["training"]
    return {"minutes": minutes, "minutes_paper_loop": sum(minutes.values())}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    (args,) = parse((TwoCardsArguments,), "Two cards against one", argv)
    path = Path(args.record_path or RECORDS / f"two_cards_{args.size}.json")
    before = read_json(path)["rows"] if path.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        bench = TwoCards(args, Path(folder))
        bench.measure()
    rows = [row for row in before if row["what"] not in args.stages.split(",")] + bench.rows
    record = {
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cards": torch.cuda.device_count(),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
        "rows": rows,
        "ratios": ratios(rows),
        **paper_loop(rows, args.size),
    }
    write_json(path, record)
    say(json.dumps({"ratios": record["ratios"], **paper_loop(rows, args.size)}))
    announce(display(path))


if __name__ == "__main__":
    run(main)
