"""How time and memory of every step that reads files grow with its input.

    python -m tests.bench.bench_growth                          # 1x, 4x and 16x; forty minutes of a core
    python -m tests.bench.bench_growth --steps format,train --record growth.json --jobs 4

Each size runs in a process of its own, held to one core: else a larger input would be given to more processes, each
with a start of its own, and the three sizes would not be of one regime. Measured are processor seconds of the step's
`main` (imports aside), seconds on the clock, and the largest memory that it held. The sizes take turns, so that a
machine that becomes slower does not make one of them look large; the least of several runs counts. For a cost of
a + b n^k the two differences between three sizes are as 4^k, whatever the fixed cost a is (a model to load); so the
exponent is log4 of their ratio. Once more each size is run with its function calls counted, which no other process
disturbs: where their exponent and that of the seconds differ, the machine made the difference.
Also: 10,000 captions of one image, prepared for training.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.manifest import git_commit, versions
from common.paths import MINI_LLAVA, ROOT
from common.progress import announce
from tests.bench import growth_inputs as made

FACTORS = (1, 4, 16)
LIMIT = 1.15
FLAT = 0.05
TELLING = {"cpu": 0.5, "mib": 32.0}  # growth from 1x to 4x; what is less, noise decides
CROWD = 10_000  # captions of one image
CHILD = """
import importlib, json, os, resource, sys, time
os.sched_setaffinity(0, [int(sys.argv.pop(1))])
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
def used():
    both = [resource.getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    # Not ru_maxrss, which begins with what the process held that started this one.
    held = next(line for line in open("/proc/self/status", "rb") if line.startswith(b"VmHWM"))
    return sum(one.ru_utime + one.ru_stime for one in both), int(held.split()[1]) / 1024
module = importlib.import_module(sys.argv[2])
if sys.argv[2] == "finetune.train":  # what its main imports only when it needs it
    for name in ("finetune.setup.build", "transformers.models.llama.modeling_llama", "transformers.models.clip"):
        importlib.import_module(name)
    from transformers import CLIPVisionModel, LlamaForCausalLM
count = sys.argv.pop(1) == "count"
sys.argv = sys.argv[1:]
begun, before = time.perf_counter(), used()[0]
if count:
    import cProfile, pstats
    profile = cProfile.Profile()
    profile.runcall(module.main)
    print("\\n@" + json.dumps({"calls": pstats.Stats(profile).total_calls}))
    sys.exit()
module.main()
seconds, mib = used()
print("\\n@" + json.dumps({"cpu": seconds - before, "clock": time.perf_counter() - begun, "mib": mib}))
"""

Flags = dict[str, object]


@dataclass(frozen=True)
class Step:
    """A step under measurement.

    Attributes:
        module: whose `main` runs.
        size: items of its smallest input; below it the fixed cost, and the memory of the imports, would hide the rest.
        write: writes an input of so many items into a folder, and gives the flags that read it.
    """

    module: str
    size: int
    write: Callable[[Path, int], Flags]


@dataclass
class GrowthArguments:
    """What to measure."""

    steps: str | None = flag(None, "names of steps, with commas; default all")
    record: str | None = flag("tests/bench/records/growth.json", "where the record goes")
    scale: float = flag(1.0, "factor on all sizes, for a quick look")
    runs: int = flag(3, "runs of each size, of which the least counts: others are disturbed")
    calls: bool = flag(True, "count function calls too, in a run of their own")
    jobs: int = flag(1, "steps that are measured at once, each on a core of its own")


def captions(folder: Path, number: int) -> Flags:
    """Captions of as many images, for extracting objects."""
    rows = [{name: row[name] for name in ("image", "image_id", "caption")} for row in made.object_rows(number, number)]
    made.write_lines(folder / "captions.jsonl", rows)
    return {"caption_data_path": folder / "captions.jsonl", "object_data_path": folder / "objects.jsonl"}


def images(folder: Path, number: int) -> Flags:
    """Pictures to caption, two tokens each: the reading counts here, not the model."""
    made.write_images(folder / "images", number)
    return {
        "image_dir_path": folder / "images",
        "caption_data_path": folder / "captions.jsonl",
        "max_new_tokens": 2,
        "generate_num_beams": 1,
        "infer_bs": 64,
    }


def unscored(folder: Path, number: int) -> Flags:
    """Objects of as many captions, ten an image, to score."""
    count = max(1, number // 10)
    made.write_images(folder / "images", count)
    rows = made.object_rows(number, count)
    made.write_lines(folder / "objects.jsonl", [_without_scores(row) for row in rows])
    return {
        "object_data_path": folder / "objects.jsonl",
        "image_dir_path": folder / "images",
        "clip_model": ROOT / "checkpoints" / "mini-clip",
        "score_data_path": folder / "scores.jsonl",
    }


def _without_scores(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "objects": [{**mention, "score": None} for mention in row["objects"]]}


def scored(folder: Path, number: int) -> Flags:
    """Scored objects, all of one image, to be made into samples."""
    made.write_lines(folder / "scores.jsonl", made.object_rows(number, 1))
    return {
        "score_data_path": folder / "scores.jsonl",
        "pos_neg_data_path": folder / "pos_neg.json",
        "sentence_data_path": folder / "sentences.json",
    }


def samples(folder: Path, number: int) -> Flags:
    """Samples of the captions of one image, to be prepared for training (nothing is trained)."""
    made.write_images(folder / "images", 1)
    spans, sentences = made.sample_rows(number, 1)
    made.write_json(folder / "pos_neg.json", spans)
    made.write_json(folder / "sentences.json", sentences)
    return {
        "model": "llava",
        "llava_path": MINI_LLAVA,
        "image_dir_path": folder / "images",
        "pos_neg_data_path": folder / "pos_neg.json",
        "sentence_data_path": folder / "sentences.json",
        "llava_ckpt_save_path": folder / "run",
        "gold_w": 0,
        "valid_data_split": 0,
        "report_to": "none",
        "device": "cpu",
        "dry_run": "yes",
    }


def evaluated(folder: Path, number: int) -> Flags:
    """Captions of as many images with annotations, to be scored by CHAIR."""
    made.write_coco(folder / "coco", number)
    captions(folder, number)
    return {
        "caption_eval_path": folder / "captions.jsonl",
        "annotation_path": folder / "coco",
        "result_path": folder / "result.json",
    }


def answered(folder: Path, questions: Sequence[Any], answers: Sequence[Any]) -> Flags:
    """Questions and answers as JSON Lines, and where the scores go."""
    made.write_lines(folder / "questions.jsonl", questions)
    made.write_lines(folder / "answers.jsonl", answers)
    return {
        "question_path": folder / "questions.jsonl",
        "answers_path": folder / "answers.jsonl",
        "result_path": folder / "result.json",
    }


def pope(folder: Path, number: int) -> Flags:
    """Yes/no questions with their answers."""
    return answered(folder, *made.yes_no(number))


def gqa(folder: Path, number: int) -> Flags:
    """Open questions with their answers."""
    questions = [
        {"question_id": str(at), "question": f"What is it, {at}?", "answer": "dog", "image": made.image_name(at)}
        for at in range(number)
    ]
    return answered(folder, questions, [{"question_id": str(at), "text": "Dog."} for at in range(number)])


def scienceqa(folder: Path, number: int) -> Flags:
    """Problems with their answers."""
    problem = {"choices": ["iron", "wood"], "answer": 0, "hint": "", "image": "", "split": "test"}
    problems = {str(at): {**problem, "question": f"Which of these, {at}?"} for at in range(number)}
    flags = answered(folder, [], [{"question_id": str(at), "text": "The answer is A."} for at in range(number)])
    made.write_json(folder / "problems.json", problems)
    return {**flags, "question_path": folder / "problems.json"}


def qbench(folder: Path, number: int) -> Flags:
    """Questions about quality with their answers."""
    questions = [
        {
            "id": str(at),
            "img_path": made.image_name(at),
            "question": f"How clear, {at}?",
            "candidates": ["Good", "Bad"],
            "correct_ans": "Bad",
        }
        for at in range(number)
    ]
    return answered(folder, questions, [{"id": str(at), "answer": "B"} for at in range(number)])


def mme(folder: Path, number: int) -> Flags:
    """One subtask's file with questions and answers."""
    (folder / "mme").mkdir()
    lines = [
        f"{at // 2:06d}.jpg\tIs it {at}? Please answer yes or no.\t{('Yes', 'No')[at % 2]}\tYes\n"
        for at in range(number // 2 * 2)
    ]
    (folder / "mme" / "existence.txt").write_text("".join(lines))
    return {"answers_path": folder / "mme", "result_path": folder / "result.json"}


def results(folder: Path, number: int) -> Flags:
    """Two results over the same items."""
    for name in ("one", "two"):
        made.write_json(folder / f"{name}.json", made.result(number))
    return {"first": folder / "one.json", "second": folder / "two.json"}


STEPS: dict[str, Step] = {
    "caption": Step("insight.caption", 200, images),
    "object": Step("insight.object", 400, captions),
    "clip": Step("insight.clip", 400, unscored),
    "format": Step("finetune.format_data", 2400, scored),
    "train": Step("finetune.train", 1500, samples),
    "auto": Step("evaluate.eval_auto", 600, evaluated),
    "pope": Step("evaluate.eval_pope", 4000, pope),
    "mme": Step("evaluate.eval_mme", 4000, mme),
    "gqa": Step("evaluate.eval_gqa", 1000, gqa),
    "scienceqa": Step("evaluate.eval_sqa", 1000, scienceqa),
    "qbench": Step("evaluate.eval_qbench", 1000, qbench),
    "compare": Step("evaluate.compare", 8000, results),
}


@dataclass(frozen=True)
class Cost:
    """Of one run: processor seconds, seconds on the clock, largest memory, function calls (0: not counted)."""

    items: int
    cpu: float
    clock: float
    mib: float
    calls: int = 0


@dataclass(frozen=True)
class Growth:
    """Of one step: the three sizes, and the exponents that they give."""

    step: str
    costs: tuple[Cost, ...]

    def exponent(self, name: str) -> float:
        """k of a + b n^k through the three values of `cpu`, `mib` or `calls`; 0 where they grow by less than a
        twentieth, or are not known.
        """
        one, four, sixteen = (getattr(found, name) for found in self.costs)
        if sixteen - one <= FLAT * one:
            return 0.0
        return math.log(max(sixteen - four, 1e-6) / max(four - one, 1e-6), FACTORS[1] / FACTORS[0])

    def tells(self, name: str) -> bool:
        """Whether the growth is large enough to say anything of its exponent."""
        one, four, _ = (getattr(found, name) for found in self.costs)
        return bool(four - one >= TELLING[name])

    def above(self) -> dict[str, float]:
        """The exponents that tell something, and more than the limit."""
        return {name: k for name, k in self.exponents().items() if k > LIMIT and (name == "calls" or self.tells(name))}

    def exponents(self) -> dict[str, float]:
        """Of time, of memory and of function calls."""
        return {name: round(self.exponent(name), 3) for name in ("cpu", "mib", "calls")}

    def row(self) -> dict[str, Any]:
        """For the record."""
        return {"step": self.step, "costs": [vars(cost) for cost in self.costs], "exponents": self.exponents()}


def child(step: Step, items: int, core: int, what: str) -> dict[str, float]:
    """One run of a step on a core, to be timed (`time`) or counted (`count`). Raises DataError if it fails."""
    with tempfile.TemporaryDirectory(prefix="growth") as name:
        flags = step.write(Path(name), items)
        words = [word for flag_name, value in flags.items() for word in (f"--{flag_name}", str(value))]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(core), what, step.module, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise DataError(f"{step.module} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.rpartition("@")[2])
    return found


def cost(step: Step, items: int, core: int) -> Cost:
    """One run of a step in a process of its own."""
    found = child(step, items, core, "time")
    return Cost(items, *(round(found[name], 3) for name in ("cpu", "clock", "mib")))


def least(costs: Sequence[Cost], calls: float) -> Cost:
    """The least of several runs, value by value."""
    best = (min(getattr(one, name) for one in costs) for name in ("cpu", "clock", "mib"))
    return Cost(costs[0].items, *best, calls=int(calls))


def measure(name: str, args: GrowthArguments, cores: Queue[int]) -> Growth:
    """All sizes of a step in turn, on a core that nobody else takes meanwhile."""
    step, core = STEPS[name], cores.get()
    size = max(4, round(step.size * args.scale))
    sizes = [size * factor for factor in FACTORS]
    rounds = [[cost(step, items, core) for items in sizes] for _ in range(max(1, args.runs))]
    calls = [child(step, items, core, "count")["calls"] if args.calls else 0 for items in sizes]
    growth = Growth(name, tuple(map(least, zip(*rounds, strict=True), calls)))
    cores.put(core)
    sizes = ", ".join(f"{c.items}: {c.cpu:.2f} s {c.mib:.0f} MiB" for c in growth.costs)
    found = growth.exponents()
    announce(
        f"{name}: {sizes}; exponents {found['cpu']:.2f} of seconds, {found['mib']:.2f} of memory, {found['calls']:.2f} "
        "of calls"
    )
    return growth


def bench(args: GrowthArguments) -> dict[str, Any]:
    """Measure, write the record, say what is above the limit. Raises DataError for a step that fails."""
    names = args.steps.split(",") if args.steps else list(STEPS)
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        raise DataError(f"no step {unknown[0]}; known: {', '.join(STEPS)}")
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0))[: args.jobs]:
        cores.put(core)
    with ThreadPoolExecutor(args.jobs) as pool:
        grown = list(pool.map(lambda name: measure(name, args, cores), names))
    crowd = cost(STEPS["train"], round(CROWD * args.scale), cores.get()) if "train" in names else None
    record = {
        "card": _processor(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "jobs": args.jobs,
        "rows": [growth.row() for growth in grown],
        "crowd": None if crowd is None else vars(crowd),
        "above": [g.step for g in grown if g.above()],
    }
    if args.record:
        Path(args.record).write_text(json.dumps(record, indent=1) + "\n")
    if crowd is not None:
        announce(
            f"{crowd.items} captions of one image prepared for training in {crowd.cpu:.1f} s ({crowd.clock:.1f} s on "
            f"the clock), {crowd.mib:.0f} MiB"
        )
    return record


def _processor() -> str:
    """The machine, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def main() -> None:
    """Parse and measure; exit code 1 where something grows faster than it may."""
    (args,) = parse([GrowthArguments], __doc__ or "")
    record = bench(args)
    above = record["above"]
    announce(f"exponents above {LIMIT}: {', '.join(above) or 'none'}")
    if above:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
