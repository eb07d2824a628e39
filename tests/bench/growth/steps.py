"""Every step that reads files, with an input of any size that it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.paths import MINI_LLAVA, ROOT
from tests.bench.growth import inputs

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


def captions(folder: Path, number: int) -> Flags:
    """Captions of as many images, for extracting objects."""
    rows = [
        {name: row[name] for name in ("image", "image_id", "caption")} for row in inputs.object_rows(number, number)
    ]
    inputs.write_lines(folder / "captions.jsonl", rows)
    return {"caption_data_path": folder / "captions.jsonl", "object_data_path": folder / "objects.jsonl"}


def images(folder: Path, number: int) -> Flags:
    """Pictures to caption, two tokens each: the reading counts here, not the model."""
    inputs.write_images(folder / "images", number)
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
    inputs.write_images(folder / "images", count)
    rows = inputs.object_rows(number, count)
    inputs.write_lines(folder / "objects.jsonl", [_without_scores(row) for row in rows])
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
    inputs.write_lines(folder / "scores.jsonl", inputs.object_rows(number, 1))
    return {
        "score_data_path": folder / "scores.jsonl",
        "pos_neg_data_path": folder / "pos_neg.json",
        "sentence_data_path": folder / "sentences.json",
    }


def samples(folder: Path, number: int) -> Flags:
    """Samples of the captions of one image, to be prepared for training (nothing is trained)."""
    inputs.write_images(folder / "images", 1)
    spans, sentences = inputs.sample_rows(number, 1)
    inputs.write_json(folder / "pos_neg.json", spans)
    inputs.write_json(folder / "sentences.json", sentences)
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
    inputs.write_coco(folder / "coco", number)
    captions(folder, number)
    return {
        "caption_eval_path": folder / "captions.jsonl",
        "annotation_path": folder / "coco",
        "result_path": folder / "result.json",
    }


def answered(folder: Path, questions: Sequence[Any], answers: Sequence[Any]) -> Flags:
    """Questions and answers as JSON Lines, and where the scores go."""
    inputs.write_lines(folder / "questions.jsonl", questions)
    inputs.write_lines(folder / "answers.jsonl", answers)
    return {
        "question_path": folder / "questions.jsonl",
        "answers_path": folder / "answers.jsonl",
        "result_path": folder / "result.json",
    }


def pope(folder: Path, number: int) -> Flags:
    """Yes/no questions with their answers."""
    return answered(folder, *inputs.yes_no(number))


def gqa(folder: Path, number: int) -> Flags:
    """Open questions with their answers."""
    questions = [
        {"question_id": str(at), "question": f"What is it, {at}?", "answer": "dog", "image": inputs.image_name(at)}
        for at in range(number)
    ]
    return answered(folder, questions, [{"question_id": str(at), "text": "Dog."} for at in range(number)])


def scienceqa(folder: Path, number: int) -> Flags:
    """Problems with their answers."""
    problem = {"choices": ["iron", "wood"], "answer": 0, "hint": "", "image": "", "split": "test"}
    problems = {str(at): {**problem, "question": f"Which of these, {at}?"} for at in range(number)}
    flags = answered(folder, [], [{"question_id": str(at), "text": "The answer is A."} for at in range(number)])
    inputs.write_json(folder / "problems.json", problems)
    return {**flags, "question_path": folder / "problems.json"}


def qbench(folder: Path, number: int) -> Flags:
    """Questions about quality with their answers."""
    questions = [
        {
            "id": str(at),
            "img_path": inputs.image_name(at),
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
        inputs.write_json(folder / f"{name}.json", inputs.result(number))
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
