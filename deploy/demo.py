"""The whole method on the mini world, two CPU cores, minutes: `make demo` or `python deploy/demo.py [--seed 0]`.

Draws the images, lets the model caption them, mines and scores objects, formats spans, unlearns, and judges captions
of images that nothing else has seen before and after. Each step is the script that a user runs; the demo only calls
them one after the other. Leaves under `runs/demo/seed<seed>/`: results.json (both results and the seconds of each
step), comparison.json (paired differences), examples.json and the density figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.storage import read_json, write_json
from common.mini_world import GREEDY, SAMPLING, MiniWorld
from common.paths import MINI_CLIP, ROOT, display
from common.progress import announce, say

RECIPES = ROOT / "finetune" / "recipes"
SHOWN = ("chair_s", "chair_i", "recall", "words", "bleu_1", "bleu_4", "distinct_2")
RATES = ("chair_s", "chair_i", "recall", "bleu_1", "bleu_4", "distinct_2")
EXAMPLES = 3


@dataclass
class DemoArguments:
    """One run of the demo."""

    seed: int = flag(0, "seed of the world, of sampling and of training")
    recipe: str = flag("bounded", "training recipe: finetune/recipes/mini_<recipe>.yaml")
    train_images: int = flag(900, "images to mine and unlearn on")
    eval_images: int = flag(300, "images to judge on")
    output_dir: str | None = flag(None, "folder; default runs/demo/seed<seed>[-<recipe>]")


@dataclass
class Demo:
    """Paths of one demo run, and the seconds that its steps took."""

    args: DemoArguments
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        suffix = "" if self.args.recipe == "bounded" else f"-{self.args.recipe}"
        given = self.args.output_dir
        self.folder = Path(given) if given else ROOT / "runs" / "demo" / f"seed{self.args.seed}{suffix}"
        self.world = MiniWorld(self.folder / "world")

    def step(self, name: str, module: str, *flags: str | Path | int) -> None:
        """Run one script and note its seconds. Raises DataError if it fails."""
        announce(f"\n== {name}: python -m {module}")
        start = time.perf_counter()
        command = [sys.executable, "-m", module, *map(str, flags)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise DataError(f"the step '{name}' failed; run it alone to see why: {' '.join(command[1:])}")
        self.seconds[name] = round(time.perf_counter() - start, 1)

    def caption_file(self, which: str) -> Path:
        """Captions of the evaluation images by the base or the unlearned model."""
        return self.folder / f"captions_{which}.jsonl"

    def result_file(self, which: str) -> Path:
        """Scores of those captions."""
        return self.folder / f"result_{which}.json"


def mine(demo: Demo) -> None:
    """Images -> captions -> objects -> scores -> spans."""
    args, world = demo.args, demo.world
    sizes = ("--train_images", args.train_images, "--eval_images", args.eval_images)
    demo.step("draw", "dataset.mini.draw", "--seed", args.seed, "--output_dir", world.root, *sizes)
    demo.step(
        "caption", "insight.caption", "--image_dir_path", world.train_images, "--caption_data_path", world.captions,
        *SAMPLING, "--seed", args.seed,
    )  # fmt: skip
    demo.step("objects", "insight.object", "--caption_data_path", world.captions, "--object_data_path", world.objects)
    auto = ("--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto")
    demo.step(
        "scores", "insight.clip", "--object_data_path", world.objects, "--score_data_path", world.scores,
        "--image_dir_path", world.train_images, "--annotation_path", world.train_annotations,
        "--clip_model", MINI_CLIP, "--figure_path", demo.folder / "density.png", *auto,
    )  # fmt: skip
    demo.step(
        "format", "finetune.format_data", "--score_data_path", world.scores,
        "--pos_neg_data_path", world.pos_neg, "--sentence_data_path", world.sentences, *auto,
    )  # fmt: skip


def unlearn(demo: Demo) -> Path:
    """Train by the recipe; returns the folder of the trained tensors."""
    world, folder = demo.world, demo.folder / "trained"
    demo.step(
        "train", "finetune.train", "--config", RECIPES / f"mini_{demo.args.recipe}.yaml",
        "--image_dir_path", world.train_images, "--pos_neg_data_path", world.pos_neg,
        "--sentence_data_path", world.sentences, "--llava_ckpt_save_path", folder,
        "--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto",
        "--report_to", "none", "--seed", demo.args.seed,
    )  # fmt: skip
    return folder


def judge(demo: Demo, which: str, *checkpoint: str | Path) -> None:
    """Caption the evaluation images greedily and score the captions."""
    world = demo.world
    demo.step(
        f"caption {which}", "evaluate.eval_caption", "--image_dir_path", world.eval_images,
        "--caption_eval_path", demo.caption_file(which), *GREEDY, *checkpoint,
    )  # fmt: skip
    demo.step(
        f"judge {which}", "evaluate.eval_auto", "--caption_eval_path", demo.caption_file(which),
        "--annotation_path", world.eval_annotations, "--result_path", demo.result_file(which),
    )  # fmt: skip


def examples(demo: Demo) -> list[dict[str, Any]]:
    """The first captions that changed, before and after."""
    before, after = (
        [json.loads(line) for line in demo.caption_file(which).read_text(encoding="utf-8").splitlines()]
        for which in ("base", "unlearned")
    )
    pairs = zip(before, after, strict=True)
    changed = [(b, a) for b, a in pairs if b["caption"] != a["caption"]]
    return [{"image": b["image"], "before": b["caption"], "after": a["caption"]} for b, a in changed[:EXAMPLES]]


def _cell(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name in RATES else f"{value:.1f}"


def table(base: dict[str, Any], unlearned: dict[str, Any], paired: dict[str, Any]) -> str:
    """Base, unlearned and paired difference of each score, with 95 % intervals."""
    lines = [f"{'':12}{'base':>24}{'unlearned':>24}{'difference':>27}"]
    for name in SHOWN:
        cells = []
        for result in (base, unlearned):
            interval = result["intervals"].get(name)
            bounds = f" [{_cell(name, interval[0])}, {_cell(name, interval[1])}]" if interval else ""
            cells.append(_cell(name, result["scores"][name]) + bounds)
        change = paired.get(name)
        cells.append(
            f"{_cell(name, change['difference'])} [{_cell(name, change['low'])}, {_cell(name, change['high'])}]"
            if change
            else _cell(name, unlearned["scores"][name] - base["scores"][name])
        )
        lines.append(f"{name:12}{cells[0]:>24}{cells[1]:>24}{cells[2]:>27}")
    return "\n".join(lines)


def report(demo: Demo) -> None:
    """Write results.json and examples.json; print the table, the examples and the seconds."""
    base, unlearned = (read_json(demo.result_file(which)) for which in ("base", "unlearned"))
    paired = read_json(demo.folder / "comparison.json")["differences"]
    found = examples(demo)
    write_json(demo.folder / "examples.json", found)
    write_json(demo.folder / "results.json", {"base": base, "unlearned": unlearned, "seconds": demo.seconds})
    for example in found:
        say(f"\n{example['image']}\n  before: {example['before']}\n  after:  {example['after']}")
    say("\n" + table(base, unlearned, paired))
    say("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in demo.seconds.items()))
    say(f"total {sum(demo.seconds.values()):.0f} s; {display(demo.folder / 'results.json')}")


def main(argv: Sequence[str] | None = None) -> None:
    """Mine, judge the base model, unlearn, judge again, report."""
    (args,) = parse([DemoArguments], __doc__ or "", argv)
    demo = Demo(args)
    if not (RECIPES / f"mini_{args.recipe}.yaml").is_file():
        known = ", ".join(sorted(p.stem.removeprefix("mini_") for p in RECIPES.glob("mini_*.yaml")))
        raise DataError(f"unknown recipe '{args.recipe}' (from --recipe); known: {known}")
    announce(f"the whole method on the mini world into {display(demo.folder)}: about 5 minutes on two CPU cores")
    mine(demo)
    judge(demo, "base")
    judge(demo, "unlearned", "--llava_ckpt_load_path", unlearn(demo))
    results = (demo.result_file("base"), demo.result_file("unlearned"))
    demo.step("compare", "evaluate.compare", *results, "--result_path", demo.folder / "comparison.json")
    report(demo)


if __name__ == "__main__":
    run(main)
