"""Every step that writes, on inputs small enough to be killed some hundred times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.files.storage import write_json
from common.paths import MINI_CLIP
from dataset.mini.draw import draw_split
from tests.bench.growth import steps as growth
from tests.training_world import make_world, note_scorer

IMAGES = 3
OBJECT = {"text": "dog", "start": 2, "end": 5, "score": None}
SCORES = (9.0, 40.0)  # of the two objects: one below all thresholds, one above


@dataclass(frozen=True)
class Step:
    """One script with its flags.

    Attributes:
        module: its name.
        flags: with `{in}` for the folder of the inputs and `{out}` for that of the outputs.
        results: outputs that must have the same bytes after a kill as without.
        others: flags of an earlier result that --restart replaces; none: the script has no --restart.
        record: the result whose manifest says that all is complete; none: it says so itself.
    """

    module: str
    flags: Sequence[str]
    results: Sequence[str]
    others: Sequence[str] = ()
    record: str | None = None

    def words(self, inputs: Path, outputs: Path, *more: str) -> list[str]:
        """The command line."""
        return [word.replace("{in}", str(inputs)).replace("{out}", str(outputs)) for word in (*self.flags, *more)]


MODEL = ("--device", "cpu", "--generate_num_beams", "1", "--max_new_tokens", "3", "--infer_bs", "2")
POPE = ("--image_dir_path", "{in}/world/eval/images", "--annotation_path", "{in}/world/eval/annotations")
TRAIN = (
    "--llava_path", "{in}/train/llava", "--llava_vit_path", "{in}/train/llava/tower", "--device", "cpu",
    "--pos_neg_data_path", "{in}/train/pos_neg.json", "--sentence_data_path", "{in}/train/sentences.json",
    "--image_dir_path", "{in}/train/images", "--llava_ckpt_save_path", "{out}/run", "--report_to", "none",
    "--train_lr", "1e-3", "--max_steps", "3", "--save_steps", "1", "--train_bs", "2", "--eval_steps", "9",
)  # fmt: skip
BENCHMARKS = {
    "mme": ("--answers_path", "{in}/mme/mme"),
    "gqa": ("--question_path", "{in}/gqa/questions.jsonl", "--answers_path", "{in}/gqa/answers.jsonl"),
    "scienceqa": (
        "--question_path", "{in}/scienceqa/problems.json", "--answers_path", "{in}/scienceqa/answers.jsonl",
    ),
    "qbench": ("--question_path", "{in}/qbench/questions.jsonl", "--answers_path", "{in}/qbench/answers.jsonl"),
}  # fmt: skip

STEPS: dict[str, Step] = {
    "draw": Step(
        "dataset.mini.draw",
        ("--output_dir", "{out}/world", "--train_images", "2", "--eval_images", "1"),
        ("world/train/annotations/instances_train.json", "world/eval/annotations/captions_eval.json"),
    ),
    "caption": Step(
        "insight.caption",
        ("--image_dir_path", "{in}/world/train/images", "--caption_data_path", "{out}/c.jsonl", *MODEL),
        ("c.jsonl",),
        ("--max_new_tokens", "4"),
        "c.jsonl",
    ),
    "caption_eval": Step(
        "evaluate.eval_caption",
        ("--image_dir_path", "{in}/world/eval/images", "--caption_eval_path", "{out}/e.jsonl", *MODEL),
        ("e.jsonl",),
        ("--max_new_tokens", "4"),
        "e.jsonl",
    ),
    "objects": Step(
        "insight.object",
        ("--caption_data_path", "{in}/captions.jsonl", "--object_data_path", "{out}/o.jsonl"),
        ("o.jsonl",),
        (),
        "o.jsonl",
    ),
    "score": Step(
        "insight.clip",
        (
            "--object_data_path", "{in}/objects.jsonl", "--image_dir_path", "{in}/world/train/images",
            "--clip_model", str(MINI_CLIP), "--score_data_path", "{out}/s.jsonl", "--device", "cpu", "--clip_bs", "1",
            "--figure_path", "{out}/density.png",
        ),
        ("s.jsonl", "density.png"),
        ("--clip_mode", "image"),
        "s.jsonl",
    ),
    "answers": Step(
        "insight.answer",
        ("--object_data_path", "{in}/objects.jsonl", "--image_dir_path", "{in}/world/train/images",
         "--answer_data_path", "{out}/w.jsonl", *MODEL),
        ("w.jsonl",),
        ("--max_new_tokens", "4"),
        "w.jsonl",
    ),
    "browse": Step(
        "insight.browse",
        ("--score_data_path", "{in}/scores.jsonl", "--image_dir_path", "{in}/world/train/images",
         "--page_path", "{out}/page.html"),
        ("page.html",),
    ),
    "format": Step(
        "finetune.format_data",
        (
            "--score_data_path", "{in}/scores.jsonl", "--pos_neg_data_path", "{out}/p.json", "--sentence_data_path",
            "{out}/t.json", "--repaired_data_path", "{out}/r.json", "--hal_clip_thres", "20", "--norm_clip_thres", "30",
            "--sentence_clip_thres", "20",
        ),
        ("p.json", "t.json", "r.json"),
        (),
        "p.json",
    ),
    "train": Step(
        "finetune.train", TRAIN, ("run/trained.safetensors",), ("--train_lr", "2e-3"), "run/trained.safetensors",
    ),
    "train_npo": Step(
        "finetune.train",
        (*TRAIN, "--objective", "npo"),
        ("run/trained.safetensors", "run/reference_losses.json"),
        ("--beta", "0.5"),
        "run/trained.safetensors",
    ),
    "train_best": Step(
        "finetune.train",
        (*TRAIN, "--keep", "best", "--probe_steps", "1", "--probe_images", "1", "--probe_captions", "1",
         "--probe_max_object_loss", "1", "--probe_max_word_loss", "1", "--probe_max_repetition", "1",
         "--probe_max_positive_rise", "9"),
        ("run/trained.safetensors", "run/probe.jsonl", "run/probe.svg", "run/probe.png"),
        ("--train_lr", "2e-3"),
        "run/trained.safetensors",
    ),
    "judge": Step(
        "evaluate.eval_auto",
        (
            "--caption_eval_path", "{in}/captions.jsonl", "--gold_objects_path", "{in}/gold.json",
            "--result_path", "{out}/result.json",
        ),
        ("result.json",),
    ),
    "pope": Step(
        "evaluate.eval_pope",
        (*POPE, *MODEL, "--answers_save_path", "{out}/a.jsonl", "--result_path", "{out}/result.json",
         "--pope_images", "1"),
        ("a.jsonl", "result.json"),
        ("--max_new_tokens", "4"),
        "a.jsonl",
    ),
    "compare": Step(
        "evaluate.compare",
        ("--first", "{in}/one.json", "--second", "{in}/two.json", "--result_path", "{out}/difference.json"),
        ("difference.json",),
    ),
    "report": Step(
        "evaluate.report",
        (
            "--results", "{in}/captions.jsonl", "--gold_objects_path", "{in}/gold.json",
            "--image_dir_path", "{in}/world/train/images", "--score_data_paths", "{in}/scores.jsonl",
            "--report_path", "{out}/report.html", "--figures", "{out}/figures",
        ),
        ("report.html", "figures/scores.svg", "figures/scores.png"),
    ),
    "export": Step(
        "deploy.export",
        (
            "--llava_path", "{in}/train/llava", "--llava_vit_path", "{in}/train/llava/tower", "--device", "cpu",
            "--export_path", "{out}/exported",
        ),
        ("exported/model.safetensors", "exported/config.json"),
        ("--dtype", "float16"),
    ),
    **{
        name: Step(
            growth.STEPS[name].module, (*flags, "--result_path", "{out}/result.json"), ("result.json",)
        )
        for name, flags in BENCHMARKS.items()
    },
}  # fmt: skip


def caption(number: int) -> dict[str, object]:
    """Of a drawn image."""
    return {
        "image": f"mini_train_{number + 1:012d}.png",
        "image_id": number + 1,
        "caption": f"A dog. There is a cat {number}.",
    }


def objects(number: int, scores: Sequence[float | None]) -> dict[str, object]:
    """Both things that the caption names."""
    places = (("dog", 2, 5), ("cat", 18, 21))
    found = [{"text": t, "start": a, "end": b, "score": s} for (t, a, b), s in zip(places, scores, strict=True)]
    return {**caption(number), "objects": found}


def _lines(path: Path, make: Callable[[int], object]) -> None:
    path.write_text("".join(json.dumps(make(n)) + "\n" for n in range(IMAGES)), encoding="utf-8")


def make_inputs(root: Path) -> None:
    """Everything that the steps read, but the results to compare, which `judge` makes."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    draw_split(root / "world", "train", 0, IMAGES)
    draw_split(root / "world", "eval", 0, IMAGES)
    _lines(root / "captions.jsonl", caption)
    _lines(root / "objects.jsonl", lambda n: objects(n, (None, None)))
    _lines(root / "scores.jsonl", lambda n: objects(n, SCORES if n else (40.0, 41.0)))
    write_json(root / "gold.json", {str(n + 1): ["dog"] for n in range(IMAGES)})
    note_scorer(make_world(root / "train", captions=4))
    for name in BENCHMARKS:
        (root / name).mkdir()
        growth.STEPS[name].write(root / name, 2 * IMAGES)
