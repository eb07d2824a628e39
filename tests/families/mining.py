"""The method from end to end with one tiny checkpoint: caption, objects, scores, spans, training, captions, CHAIR."""

from __future__ import annotations

import json
from pathlib import Path

from common.mini_world import MiniWorld
from common.paths import MINI_CLIP
from dataset.mini.draw import draw_split
from tests.families.calling import Case, heard, script

# Words of the tiny tokenizers, so that what a random model says names things.
WORDS = [
    "dog",
    "cat",
    "car",
    "bird",
    "boat",
    "horse",
    "apple",
    "cup",
    "chair",
    "table",
    "tree",
    "book",
    "lamp",
    "kite",
    "bus",
    "ball",
    "cake",
    "bear",
]
TRAIN_IMAGES, EVAL_IMAGES = 12, 3
AUTO_THRESHOLDS = ("--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto")


def draw(folder: Path) -> None:
    """The mini world's images that are mined and judged on."""
    with heard():
        draw_split(folder, "train", 0, TRAIN_IMAGES)
        draw_split(folder, "eval", 0, EVAL_IMAGES)


def thresholds(scores: Path) -> tuple[str, ...]:
    """Flags with numbers that leave something of every set: what a random model says is of no kind."""
    records = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    found = sorted(mention["score"] for record in records for mention in record["objects"])
    low, high = (str(found[len(found) * share // 10]) for share in (3, 6))
    return ("--hal_clip_thres", low, "--sentence_clip_thres", low, "--norm_clip_thres", high)


def mini_pipeline(case: Case) -> int:
    """Every step by its script, each of which reads what the one before it wrote; captions that were judged."""
    world, made = MiniWorld(case.data / "world"), MiniWorld(case.out / "mined")
    made.root.mkdir()
    model, images = case.named("--device", "cpu"), ("--image_dir_path", str(world.train_images))
    texts, judged, result = (made.root / name for name in ("trained", "judged.jsonl", "result.json"))
    sets = ("--pos_neg_data_path", str(made.pos_neg), "--sentence_data_path", str(made.sentences))
    short = ("--generate_num_beams", "1", "--infer_bs", "8")
    sampled = ("--captions_per_image", "2", "--max_new_tokens", "32", "--caption_data_path", str(made.captions))
    scored = ("--score_data_path", str(made.scores), "--clip_model", str(MINI_CLIP), "--device", "cpu")
    script("insight.caption", *model, *images, *sampled, *short)
    script("insight.object", "--caption_data_path", str(made.captions), "--object_data_path", str(made.objects))
    script("insight.clip", "--object_data_path", str(made.objects), *images, *scored, *AUTO_THRESHOLDS)
    cut = thresholds(made.scores)
    script("finetune.format_data", "--score_data_path", str(made.scores), *sets, *cut)
    steps = ("--max_steps", "2", "--train_bs", "4", "--valid_data_split", "0", "--report_to", "none")
    script("finetune.train", *model, *images, *sets, *steps, *cut, "--ckpt_save_path", str(texts))
    looked = ("--image_dir_path", str(world.eval_images), "--caption_eval_path", str(judged), "--max_new_tokens", "8")
    script("evaluate.eval_caption", *model, "--ckpt_load_path", str(texts), *looked, *short)
    truth = ("--annotation_path", str(world.eval_annotations), "--result_path", str(result))
    script("evaluate.eval_auto", "--caption_eval_path", str(judged), *truth)
    return int(json.loads(result.read_text(encoding="utf-8"))["counts"]["captions"])
