"""Recipes x worlds x orders of the batches, side by side from a list: what unlearning does, and how far runs differ.

    python -m tests.bench.leaderboard                                     # the list, on two CPU cores: hours
    python -m tests.bench.leaderboard --jobs 12 --worlds 0,1,2,3,4        # on a GPU: minutes
    python -m tests.bench.leaderboard --table                             # only print what is there

`leaderboard.yaml` holds the recipes: flags of `finetune/train.py` laid over those of the demo's recipe, those of
`finetune/format_data.py` under `format`, those of `insight/answer.py` under `answers`, and how much of what was mined
is used: `captions` an image, `images`. Each world is mined once, by the scripts that a user runs; a run trains,
captions 300 images that nothing else has seen, and is judged as everywhere. A run is one line of `rows.jsonl`, which
says what it was made of; what is there is not run again, and a row made of something else is refused. Recipes are
chosen on worlds from 20 up; 0 to 4 are only looked at.

Scripts run in processes forked from one that has imported everything: starting Python anew took longer than training.

`--auroc 0.78` blurs the scores with noise until they tell present from hallucinated objects only that well, as CLIP
does on photos.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.storage import read_json, require_file, write_text
from common.mini_world import GREEDY, MiniWorld
from common.outputs.locks import exclusive
from common.paths import ROOT
from common.progress import announce, say
from tests.bench.board.recipes import MINED, check_recipe, flags_of, mined_by, read_recipes
from tests.bench.board.rows import MADE_OF, Run, check_done, mend_end, read_rows, rows_of
from tests.bench.board.scripts import Scripts
from tests.bench.board.table import BASE, SCORES, table
from tests.bench.board.worlds import AUTO, Worlds
from tests.bench.number_lists import whole_numbers
from tests.scratch import scratch

RECIPES = ROOT / "tests" / "bench" / "leaderboard.yaml"
ANOTHER_ORDER = 100  # added to the seed for each further order of the batches


@dataclass
class LeaderboardArguments:
    """What to run."""

    recipes: str = flag(str(RECIPES), "YAML: name -> flags of finetune/train.py")
    only: str = flag("", "names of recipes, separated by commas; default all of the list")
    worlds: str = flag("31,32,33,34", "seeds of worlds, separated by commas")
    orders: int = flag(2, "orders of the batches, each a run", least=1)
    auroc: float = flag(0.0, "blur the scores until they separate only so well; 0: take them as they are", least=0)
    train_images: int = flag(900, "images of a world to mine and unlearn on", least=1)
    captions: int = flag(6, "captions of each, or as many as a recipe takes; a recipe takes the first so many", least=1)
    eval_images: int = flag(300, "images of a world to judge on", least=1)
    jobs: int = flag(1, "runs side by side", least=1)
    folder: str = flag(
        "runs/leaderboard", "where worlds, runs and rows are kept: a world takes 25 MB of disk, a run 50"
    )
    pope: bool = flag(False, "also ask the questions of POPE")
    pope_images: int = flag(500, "images to ask them about, at most", least=1)
    table: bool = flag(False, "only print the table of the rows that are there")


@dataclass(frozen=True)
class Board:
    """Recipes, and the worlds that they run on.

    Attributes:
        pope_images: that POPE asks about at most; 0: it is not asked.
    """

    worlds: Worlds
    recipes: Mapping[str, Mapping[str, Any]]
    pope_images: int

    def script(self, module: str, *flags: object) -> None:
        """Run one script. Raises DataError with its last words if it fails."""
        self.worlds.scripts.call(module, *flags)

    def made_of(self, chosen: Run) -> dict[str, Any]:
        """What the row of a run depends on, whenever and of however large a world it is made."""
        judged = {"eval_images": self.worlds.images[1], "pope_images": self.pope_images}
        if chosen.recipe == BASE:
            return judged
        given = self.recipes[chosen.recipe]
        taken = {name: given.get(name) for name in MINED} | {
            "captions": mined_by(given).captions,
            "images": mined_by(given).images or self.worlds.images[0],
        }
        return judged | taken | {"flags": flags_of(given)}

    def measure(self, chosen: Run) -> dict[str, Any]:
        """Train, caption, judge; the row."""
        world, folder = self.worlds.world(chosen.world), self.worlds.folder / "runs" / chosen.name
        folder.mkdir(parents=True, exist_ok=True)
        trained: tuple[object, ...] = ()
        if chosen.recipe != BASE:
            self.train(chosen, folder)
            trained = ("--llava_ckpt_load_path", folder / "trained")
        captions, result = folder / "captions.jsonl", folder / "result.json"
        self.script(
            "evaluate.eval_caption", "--image_dir_path", world.eval_images, "--caption_eval_path", captions, *GREEDY,
            *trained,
        )  # fmt: skip
        self.script(
            "evaluate.eval_auto", "--caption_eval_path", captions, "--annotation_path", world.eval_annotations,
            "--result_path", result,
        )  # fmt: skip
        row = {**asdict(chosen), **{name: read_json(result)["scores"][name] for name in SCORES}}
        asked = self.ask_pope(world, folder, trained) if self.pope_images else {}
        return row | asked | {MADE_OF: self.made_of(chosen)}

    def train(self, chosen: Run, folder: Path) -> None:
        """One run of `finetune/train.py`."""
        world, given = self.worlds.world(chosen.world), self.recipes[chosen.recipe]
        sets = self.worlds.sets(chosen.world, chosen.auroc, mined_by(given))
        flags = flags_of(given)
        repaired = {"repaired_data_path": str(sets / "repaired.json")} if flags.get("repair_w") else {}
        if flags.get("gold_w"):
            flags["gold_data_path"] = str(self.worlds.own_answers(chosen.world, sets, mined_by(given)))
        flags |= repaired | {"seed": chosen.world + ANOTHER_ORDER * chosen.order, "report_to": "none"}
        config = folder / "recipe.yaml"
        write_text(config, yaml.safe_dump(flags))
        self.script(
            "finetune.train", "--config", config, "--image_dir_path", world.train_images,
            "--pos_neg_data_path", sets / "pos_neg.json", "--sentence_data_path", sets / "sentences.json",
            "--llava_ckpt_save_path", folder / "trained", *AUTO,
        )  # fmt: skip

    def ask_pope(self, world: MiniWorld, folder: Path, trained: Sequence[object]) -> dict[str, float]:
        """F1 over the three splits of the world's own POPE, and its interval."""
        result = folder / "pope.json"
        self.script(
            "evaluate.eval_pope", "--image_dir_path", world.eval_images, "--annotation_path", world.eval_annotations,
            "--answers_save_path", folder / "answers.jsonl", "--result_path", result,
            "--pope_images", self.pope_images, *trained,
        )  # fmt: skip
        found = read_json(result)
        low, high = found["intervals"]["f1"]
        more = {f"pope_{name}": found["scores"][name] for name in ("f1", "yes_rate", "accuracy")}
        return more | {"pope_f1_low": low, "pope_f1_high": high}


def runs_of(args: LeaderboardArguments, names: Sequence[str]) -> list[Run]:
    """All runs of the command line; the base model has one a world, whatever the scores. Raises ArgumentError."""
    worlds = whole_numbers(args.worlds, "--worlds")
    if args.auroc and not 0.5 < args.auroc < 1:
        raise ArgumentError(f"--auroc {args.auroc:g} must lie between 0.5 (chance) and 1, or be 0: scores as they are")
    trained = [
        Run(name, world, order, args.auroc) for order in range(args.orders) for world in worlds for name in names
    ]
    return [*(Run(BASE, world, 0, 0.0) for world in worlds), *trained]


def chosen_recipes(args: LeaderboardArguments) -> dict[str, dict[str, Any]]:
    """The list, or what `--only` names of it.

    Raises ArgumentError: a name that is not on it, no list of recipes, a flag that there is not; DataError: no file.
    """
    every = read_recipes(require_file(args.recipes, "--recipes"))
    names = [name for name in args.only.split(",") if name] or list(every)
    for name in names:
        if name not in every:
            raise ArgumentError(f"no recipe {name} (from --only) in {args.recipes}; known: {', '.join(every)}")
    found = {name: every[name] for name in names}
    for name, recipe in found.items():
        try:
            check_recipe(recipe, args.train_images)
        except ArgumentError as error:
            raise ArgumentError(f"{args.recipes}, recipe {name}: {error}") from None
    return found


def side_by_side(board: Board, wanted: Sequence[Run], jobs: int, rows: Path) -> list[str]:
    """Mine the worlds, then run what has no row; returns what failed."""
    failed: list[str] = []

    def mined(world: int) -> None:
        board.worlds.mine(world)
        ours = [one for one in wanted if one.recipe != BASE and one.world == world]
        recipes = [(one.auroc, board.recipes[one.recipe]) for one in ours]
        for target, mined, asks in dict.fromkeys((t, mined_by(r), bool(flags_of(r).get("gold_w"))) for t, r in recipes):
            sets = board.worlds.sets(world, target, mined)
            if asks:
                board.worlds.own_answers(world, sets, mined)

    def measured(one: Run) -> None:
        try:
            row = board.measure(one)
        except DataError as error:
            failed.append(f"{one.name}: {error}")
            announce(failed[-1])
            return
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        announce(f"{one.name}: CHAIR_S {100 * row['chair_s']:.1f}, repetition {100 * row['repetition']:.1f}")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(mined, sorted({one.world for one in wanted})))
        list(pool.map(measured, wanted))
    return failed


def main() -> None:
    """Parse, run, print the table. Raises DataError if a run failed."""
    (args,) = parse([LeaderboardArguments], __doc__ or "")
    recipes = chosen_recipes(args)
    folder = Path(args.folder).resolve()
    rows = folder / "rows.jsonl"
    names = [BASE, *recipes]
    failed = [] if args.table else run_all(args, recipes, folder, rows)
    say(table(rows_of(rows, names) if args.table else read_rows(rows), names))
    if failed:
        raise DataError(f"{len(failed)} runs failed; the first: {failed[0]}")


def run_all(
    args: LeaderboardArguments, recipes: Mapping[str, Mapping[str, Any]], folder: Path, rows: Path
) -> list[str]:
    """Run what has no row yet; returns what failed. Raises InUseError where another process runs in the folder."""
    asked = runs_of(args, list(recipes))
    pope_images = args.pope_images if args.pope else 0
    scripts = Scripts(threads=max(1, (os.cpu_count() or 1) // args.jobs))
    captions = max(args.captions, *(mined_by(recipe).captions for recipe in recipes.values()))
    worlds = Worlds(folder, scripts, (args.train_images, args.eval_images), captions)
    board = Board(worlds, recipes, pope_images)
    with exclusive(rows), scratch("leaderboard"):
        mend_end(rows)
        done = check_done(read_rows(rows), {one: board.made_of(one) for one in asked}, rows)
        wanted = [one for one in asked if one not in done]
        announce(f"{len(wanted)} runs, {len(done)} there already; a run takes about two minutes of two CPU cores")
        return side_by_side(board, wanted, args.jobs, rows)


if __name__ == "__main__":
    run(main)
