"""Readers of what lies beside data: ground truth, word lists, sidecars, run folders, settings."""

from __future__ import annotations

from pathlib import Path

from common.args import ThresholdArguments
from common.arguments.config_file import read_config
from common.files.coco import read_annotations
from common.files.gold import truth_from_file
from common.files.storage import read_yaml
from common.files.vocabulary import read_vocabulary
from common.outputs.settings import check_settings
from common.thresholds import resolve
from evaluate import eval_auto
from evaluate.chair.parser import ChairParser
from evaluate.chair.synonyms import load_word_lists
from finetune.run.folder import RunFolder
from finetune.steps.reference import read_references
from tests.fuzz.reader import Reader
from tests.fuzz.sample_files import CAPTION, NAME, json_file

COCO = {
    "images": [{"id": 42, "file_name": NAME}, {"id": 7, "file_name": "7.jpg"}],
    "annotations": [{"id": 1, "image_id": 42, "category_id": 18}, {"id": 2, "image_id": 7, "category_id": 17}],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
}
COCO_CAPTIONS = {
    "images": COCO["images"],
    "annotations": [{"id": 1, "image_id": 42, "caption": CAPTION}, {"id": 2, "image_id": 7, "caption": "A cat."}],
}
CONFIG = b"seed: 3\nmodel: llava\ntrain_lr: 1e-4\ndry_run: no\ncaption:\n  captions_per_image: 2\n"
NOTED = {
    "thresholds": {"hallucinated": 21.5, "grounded": 30.25, "sentence": 25.5},
    "prompt": "Describe.",
    "decoding": {"num_beams": 1},
}
AUTO = ThresholdArguments(hal_clip_thres="auto", norm_clip_thres="auto", sentence_clip_thres="auto")
SETTINGS = {"prompt": "Describe.", "beams": 1}
SPLIT = {"seed": 0, "train": ["1.jpg"], "valid": ["2.jpg"]}
CONFIG_FLAGS = ("seed", "model", "train_lr", "captions_per_image", "dry_run")


def truth_readers() -> list[Reader]:
    """Ground truth and word lists."""
    parser = ChairParser()
    gold = json_file({"42": ["dog", "bench"], "7": ["cat"]})
    words = b"dog, puppy\ncat, kitten\nbench\nbus\n"
    return [
        Reader(
            "COCO",
            {"instances.json": json_file(COCO), "captions.json": json_file(COCO_CAPTIONS)},
            read_annotations,
            share=2,
        ),
        Reader(
            "gold of insight",
            {"gold.json": gold, "words.txt": words},
            lambda p: truth_from_file(p / "gold.json", read_vocabulary(p / "words.txt")),
        ),
        Reader("gold of CHAIR", {"gold.json": gold}, lambda p: truth_from_file(p / "gold.json", parser)),
        Reader(
            "synonyms of CHAIR",
            {"s.txt": words},
            lambda p: [load_word_lists(m, p / "s.txt") for m in ("standard", "paper")],
        ),
    ]


def sidecar_readers() -> list[Reader]:
    """What is noted beside results, run folders, settings."""
    noted = {"x.jsonl.manifest.json": json_file(NOTED)}
    settings = {"x.jsonl.settings.json": json_file(SETTINGS), "x.jsonl": b""}
    last = json_file({"step": 2, "finished": True, "checkpoint": "checkpoint-000002"})
    checkpoints = {f"checkpoint-{n:06d}/x": Path(__file__) for n in (2, 1, 0)}
    losses = {"1.jpg/0": [1.5, 2.25], "1.jpg/1": [0.5]}
    return [
        Reader("noted thresholds", noted, lambda p: resolve(AUTO, p / "x.jsonl", False)),
        Reader("captioning settings", noted, lambda p: eval_auto.captioning_settings(p / "x.jsonl")),
        Reader("settings of a result", settings, lambda p: check_settings(p / "x.jsonl", SETTINGS)),
        Reader("last checkpoint", {"last.json": last, **checkpoints}, lambda p: RunFolder(p).pointer()),
        Reader(
            "split of a run",
            {"split.json": json_file(SPLIT)},
            lambda p: RunFolder(p).keep_split(0, ["1.jpg"], ["2.jpg"]),
        ),
        Reader(
            "reference losses",
            {"reference_losses.json": json_file(losses)},
            lambda p: read_references(p / "reference_losses.json", {"1.jpg/0": 2, "1.jpg/1": 1}),
        ),
        Reader(
            "config file", {"run.yaml": CONFIG}, lambda p: read_config(str(p / "run.yaml"), "caption", CONFIG_FLAGS)
        ),
        Reader("YAML", {"any.yaml": CONFIG}, lambda p: read_yaml(p / "any.yaml"), infinite=True),
    ]
