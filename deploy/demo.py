"""The whole method on the mini world, two CPU cores, minutes: `make demo` or `python deploy/demo.py [--seed 0]`.

Draws the images, lets the model caption them, mines and scores objects, formats spans, unlearns, and judges captions
of images that nothing else has seen before and after: the pipeline (`deploy/pipeline.py`) with the file
`deploy/demo.yaml`. Leaves under `runs/demo/seed<seed>/`: results.json (both results and the seconds of each step),
comparison.json (paired differences), report.html (a page to look at), examples.json and the density figure. Called
again it does only what is out of date.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import DataError
from common.files.storage import read_json, write_json
from common.mini_world import MiniWorld
from common.outputs.whole import WholeTarget, json_object_with, taken
from common.paths import MINI_CLIP, ROOT, display
from common.progress import announce, say
from deploy.pipeline import Pipeline
from deploy.steps.config import Values, make_config, read_values

FILE = ROOT / "deploy" / "demo.yaml"
RECIPES = ROOT / "finetune" / "recipes"
SHOWN = ("chair_s", "chair_i", "recall", "words", "bleu_1", "bleu_4", "distinct_2", "repetition")
RATES = ("chair_s", "chair_i", "recall", "bleu_1", "bleu_4", "distinct_2", "repetition")
EXAMPLES = 3
BOUNDED = "bounded"
# What other recipes than the demo's own learn from: the same number of captions, and the scores alone.
SCORES_ALONE = {
    "train_images": "900",
    "captions_per_image": "3",
    "agreement": "false",
    "unlearn_target": "subsentence",
    "whole_captions": "all",
}


@dataclass
class DemoArguments:
    """One run of the demo."""

    seed: int = seed_flag("seed of the world, of sampling and of training")
    recipe: str = flag(BOUNDED, "training recipe: finetune/recipes/mini_<recipe>.yaml")
    train_images: int | None = flag(None, "images to mine and unlearn on; default 450, or 900 of three captions each")
    eval_images: int = flag(300, "images to judge on")
    output_dir: str | None = flag(None, "folder; default runs/demo/seed<seed>[-<recipe>]")
    restart: bool = flag(False, "do every step again")


@dataclass
class Demo:
    """Paths of one demo run, and the seconds that its steps took."""

    args: DemoArguments
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        suffix = "" if self.args.recipe == BOUNDED else f"-{self.args.recipe}"
        given = self.args.output_dir
        self.folder = Path(given) if given else ROOT / "runs" / "demo" / f"seed{self.args.seed}{suffix}"
        self.world = MiniWorld(self.folder / "world")

    def pipeline(self) -> Pipeline:
        """The file with this run's seed, sizes, recipe and paths. Raises DataError for an unknown recipe."""
        values = read_values(FILE)
        values["train"] = {"report_to": values["train"]["report_to"], **self.recipe()}
        for step in ("draw", "caption", "answers", "train"):
            values[step]["seed"] = str(self.args.seed)
        if self.args.recipe != BOUNDED:
            del values["answers"]
            for step in ("draw", "caption", "format"):
                values[step] = {name: SCORES_ALONE.get(name, value) for name, value in values[step].items()}
        if self.args.train_images is not None:
            values["draw"]["train_images"] = str(self.args.train_images)
        values["draw"]["eval_images"] = str(self.args.eval_images)
        values["caption"]["caption_data_path"] = str(self.world.captions)
        values["objects"] = {"object_data_path": str(self.world.objects)}
        values["score"] |= {"clip_model": str(MINI_CLIP), "score_data_path": str(self.world.scores)}
        values["format"] |= {
            "pos_neg_data_path": str(self.world.pos_neg),
            "sentence_data_path": str(self.world.sentences),
            "repaired_data_path": str(self.world.repaired),
        }
        return Pipeline(make_config(values, display(FILE)), self.folder)

    def recipe(self) -> Values:
        """Values of the training. Raises DataError for an unknown recipe."""
        path = RECIPES / f"mini_{self.args.recipe}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem.removeprefix("mini_") for p in RECIPES.glob("mini_*.yaml")))
            raise DataError(f"unknown recipe '{self.args.recipe}' (from --recipe); known: {known}")
        return read_values(path)

    def caption_file(self, which: str) -> Path:
        """Captions of the evaluation images by the base or the unlearned model."""
        return self.folder / f"captions_{which}.jsonl"

    def result_file(self, which: str) -> Path:
        """Scores of those captions."""
        return self.folder / f"result_{which}.json"


def examples(demo: Demo) -> list[dict[str, Any]]:
    """The first captions that changed, before and after."""
    before, after = (
        [json.loads(line) for line in demo.caption_file(which).read_text(encoding="utf-8").splitlines()]
        for which in ("base", "unlearned")
    )
    pairs = zip(before, after, strict=True)
    changed = [(b, a) for b, a in pairs if b["caption"] != a["caption"]]
    return [{"image": b["image"], "before": b["caption"], "after": a["caption"]} for b, a in changed[:EXAMPLES]]


def targets(demo: Demo) -> list[WholeTarget]:
    """What is written beside the pipeline's files."""
    kinds = {"results.json": json_object_with("base", "unlearned", "seconds"), "examples.json": _require_examples}
    return [WholeTarget(demo.folder / name, "output_dir", "deploy.demo", kind) for name, kind in kinds.items()]


def _require_examples(path: Path) -> None:
    """Raise DataError for a file of something else."""
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(e, dict) and {"before", "after"} <= set(e) for e in found):
        raise DataError("no list of captions before and after")


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
    with taken(targets(demo)):
        write_json(demo.folder / "examples.json", found)
        write_json(demo.folder / "results.json", {"base": base, "unlearned": unlearned, "seconds": demo.seconds})
    for example in found:
        say(f"\n{example['image']}\n  before: {example['before']}\n  after:  {example['after']}")
    say("\n" + table(base, unlearned, paired))
    say("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in demo.seconds.items()))
    say(f"total {sum(demo.seconds.values()):.0f} s; {display(demo.folder / 'results.json')}")
    say(f"to look at: {display(demo.folder / 'report.html')}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the pipeline, report."""
    (args,) = parse([DemoArguments], __doc__ or "", argv)
    demo = Demo(args)
    pipeline = demo.pipeline()
    for target in targets(demo):
        target.check()
    announce(f"the whole method on the mini world into {display(demo.folder)}: about 5 minutes on two CPU cores")
    demo.seconds = pipeline.do(args.restart)
    report(demo)


if __name__ == "__main__":
    run(main)
