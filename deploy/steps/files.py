"""Which files each step takes and leaves, by the flags that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BENCHMARKS = ("pope", "mme", "gqa", "sqa", "qbench", "amber")
BOTH = ("caption_eval", "judge", *BENCHMARKS)  # run for the model as it was and as it is after training
BASE, UNLEARNED = "base", "unlearned"


@dataclass(frozen=True)
class StepFiles:
    """Flag -> file of the pipeline, for one step.

    Args:
        takes: what an earlier step has made; needed, unless it is in `optional`.
        makes: what it leaves.
        optional: of `takes`, those that the script can do without.
        restarts: whether the script has --restart.
        wanted_by: of `takes`, those that are only given where another flag of the block is above 0.
        label: its name in what is printed.
    """

    takes: Mapping[str, str] = field(default_factory=dict)
    makes: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    restarts: bool = True
    label: str = ""
    wanted_by: Mapping[str, str] = field(default_factory=dict)


# Names of the files in the pipeline's folder; {which}: base or unlearned.
PLACES = {
    "world": "world",
    "train_images": "world/train/images",
    "train_annotations": "world/train/annotations",
    "eval_images": "world/eval/images",
    "eval_annotations": "world/eval/annotations",
    "captions": "captions.jsonl",
    "objects": "objects.jsonl",
    "scores": "scores.jsonl",
    "density": "density.png",
    "mined": "mined.html",
    "own_answers": "own_answers.jsonl",
    "pos_neg": "pos_neg.json",
    "sentences": "sentences.json",
    "repaired": "repaired.json",
    "trained": "trained",
    "eval_captions": "captions_{which}.jsonl",
    "result": "result_{which}.json",
    "comparison": "comparison.json",
    "report": "report.html",
    "exported": "exported",
    **{f"{name}_answers": f"answers_{name}_{{which}}.jsonl" for name in BENCHMARKS},
    **{f"{name}_result": f"result_{name}_{{which}}.json" for name in BENCHMARKS},
}
COMPARISON = "comparison_{step}.json"  # of a benchmark
# What of a folder is looked at to know whether it has changed; of others everything is.
HEART = {"trained": "trained.safetensors"}

DRAWN = frozenset({"image_dir_path", "annotation_path"})  # the mini world's, where it is drawn; else the user's
FILES: dict[str, StepFiles] = {
    "prepare": StepFiles(restarts=False),
    "draw": StepFiles(makes={"output_dir": "world"}, restarts=False),
    "caption": StepFiles({"image_dir_path": "train_images"}, {"caption_data_path": "captions"}, DRAWN),
    "objects": StepFiles({"caption_data_path": "captions"}, {"object_data_path": "objects"}),
    "score": StepFiles(
        {"object_data_path": "objects", "image_dir_path": "train_images", "annotation_path": "train_annotations"},
        {"score_data_path": "scores", "figure_path": "density"},
        DRAWN,
        label="scores",
    ),
    "browse": StepFiles(
        {"score_data_path": "scores", "image_dir_path": "train_images"}, {"page_path": "mined"}, DRAWN, restarts=False
    ),
    "answers": StepFiles(
        {"object_data_path": "objects", "image_dir_path": "train_images"}, {"answer_data_path": "own_answers"}, DRAWN
    ),
    "format": StepFiles(
        {"score_data_path": "scores"},
        {"pos_neg_data_path": "pos_neg", "sentence_data_path": "sentences", "repaired_data_path": "repaired"},
        restarts=False,
    ),
    "train": StepFiles(
        {
            "pos_neg_data_path": "pos_neg",
            "sentence_data_path": "sentences",
            "repaired_data_path": "repaired",
            "image_dir_path": "train_images",
            "gold_data_path": "own_answers",
        },
        {"ckpt_save_path": "trained"},
        DRAWN | {"repaired_data_path", "gold_data_path"},
        wanted_by={"repaired_data_path": "repair_w", "gold_data_path": "gold_w"},
    ),
    "caption_eval": StepFiles(
        {"image_dir_path": "eval_images"}, {"caption_eval_path": "eval_captions"}, DRAWN, label="caption"
    ),
    "judge": StepFiles(
        {"caption_eval_path": "eval_captions", "annotation_path": "eval_annotations"},
        {"result_path": "result"},
        DRAWN,
        restarts=False,
    ),
    **{
        name: StepFiles(
            {"image_dir_path": "eval_images"},
            {"answers_save_path": f"{name}_answers", "result_path": f"{name}_result"},
            DRAWN,
        )
        for name in BENCHMARKS
    },
    "compare": StepFiles({"first": "result", "second": "result"}, {"result_path": "comparison"}, restarts=False),
    "report": StepFiles({"results": "result"}, {"report_path": "report"}, restarts=False),
    "card": StepFiles({"ckpt_load_path": "trained"}, restarts=False),
    "export": StepFiles({"ckpt_load_path": "trained"}, {"export_path": "exported"}),
}
# File -> the step that makes it, and the flag that names it there.
MAKERS = {key: (step, flag) for step, files in FILES.items() for flag, key in files.makes.items()}
OF_THE_WORLD = frozenset({"train_images", "train_annotations", "eval_images", "eval_annotations"})
