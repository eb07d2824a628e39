"""Real photos and real captions: they go through the script, and the labels agree with CHAIR's original code."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from common.files.gold import read_truth
from common.files.record_files import locate_word, objects_to_json, read_objects
from common.files.records import CaptionObjects
from common.files.vocabulary import read_vocabulary
from insight import clip
from tests.clip_folder import make_clip_folder
from tests.data_folder import real_data


@pytest.fixture(scope="module")
def data() -> Path:
    """The real test data, or skip."""
    return real_data()


def captions(data: Path) -> list[dict[str, object]]:
    """Captions of real models with the object words that CHAIR finds in them."""
    text = (data / "coco" / "lvlm_captions_for_images.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_objects_of_real_captions_agree_with_the_original_chair_code(data):
    vocabulary, same, theirs, ours = read_vocabulary(), 0, 0, 0
    for name in ("llava-1.5.greedy", "minigpt4.greedy"):
        texts = (data / "chair" / "captions" / "opera" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        found = (data / "chair" / "reference_results" / f"opera.{name}.jsonl").read_text(encoding="utf-8").splitlines()
        for text, reference in zip(map(json.loads, texts), map(json.loads, found), strict=True):
            a, b = Counter(reference["generated"]), Counter(vocabulary.nodes_in(text["caption"]))
            same, theirs, ours = same + (a & b).total(), theirs + a.total(), ours + b.total()
    assert theirs == 6354  # object words of the reference results
    assert same / theirs > 0.98
    assert same / ours > 0.98


def test_gold_objects_of_real_photos_agree_with_the_original_cache(data):
    gold = read_truth(data / "coco" / "annotations", None, read_vocabulary()).objects
    reference = json.loads((data / "coco" / "gt_objects.json").read_text())
    index = json.loads((data / "coco" / "index.json").read_text())
    both = [entry["image_id"] for entry in index if entry["captions"] and entry["instances"]]
    assert len(both) == 191
    equal = sum(gold[image] == set(reference[str(image)]) for image in both)
    assert equal / len(both) > 0.95


def test_real_photos_are_scored_and_labelled(data, tmp_path, monkeypatch):
    records = []
    for entry in captions(data)[:12]:
        words = dict.fromkeys(str(word) for word in entry["generated"])
        mentions = [m for m in (locate_word(str(entry["caption"]), word) for word in words) if m]
        records.append(
            CaptionObjects(
                str(entry["file"]),
                int(str(entry["image_id"])),
                str(entry["caption"]),
                tuple(sorted(mentions, key=lambda m: m.start)),
                sample=len(records),
            )
        )
    objects = tmp_path / "objects.jsonl"
    objects.write_text("".join(json.dumps(objects_to_json(r)) + "\n" for r in records))
    arguments = {
        "object_data_path": objects,
        "image_dir_path": data / "coco",
        "gold_objects_path": data / "coco" / "gt_objects.json",
        "score_data_path": tmp_path / "scores.jsonl",
        "clip_model": make_clip_folder(tmp_path / "clip"),
        "device": "cpu",
        "hal_clip_thres": "auto",
        "norm_clip_thres": "auto",
        "sentence_clip_thres": "auto",
    }
    monkeypatch.setattr("sys.argv", ["clip.py", *(str(w) for k, v in arguments.items() for w in (f"--{k}", v))])
    clip.main()
    scored = read_objects(tmp_path / "scores.jsonl")
    assert [r.key for r in scored] == [r.key for r in records]
    assert all(m.score is not None for r in scored for m in r.objects)
    manifest = json.loads((tmp_path / "scores.jsonl.manifest.json").read_text())
    assert manifest["quality"]["present"]["n"] > 10
