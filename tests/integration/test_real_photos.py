"""The whole method on real photos and captions of real models, with the bundled models: one script after the other.

The bundled models know emoji, not photos, so no score here says anything about the method. What is checked is that
nothing is lost, displaced or counted wrongly on the way from real JPEGs and real text to results.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from common.files.storage import read_json
from common.paths import MINI_CLIP, MINI_LLAVA
from common.samples.spans import split_spans
from tests.data_folder import real_data
from tests.forks.scripts import run
from tests.integration.evaluate.plain_chair import plain_objects

HELD_OUT = 6  # photos that are captioned after training
STEPS = 5
AUTO = ("--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto")


@dataclass(frozen=True)
class Photos:
    """Paths of one run over the real photos, and what went in."""

    root: Path
    data: Path
    captions: list[dict[str, Any]]

    @property
    def coco(self) -> Path:
        """Photos and annotations."""
        return self.data / "coco"

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a JSON Lines file of the run."""
        return [json.loads(line) for line in (self.root / name).read_text(encoding="utf-8").splitlines()]


def script(name: str, *flags: str | Path | int) -> None:
    """Run a script as a user does; its complaint is the assertion's message."""
    done = run([name, *map(str, flags)], environment=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-2000:]


def numbered(captions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The captions with file names, several of one photo told apart by `sample`."""
    seen: Counter[int] = Counter()
    records = []
    for entry in captions:
        name, image_id = Path(entry["file"]).name, entry["image_id"]
        records.append(
            {
                "image": name,
                "image_id": image_id,
                "caption": entry["caption"],
                "sample": seen[image_id],
                **_truth(entry),
            }
        )
        seen[image_id] += 1
    return records


def _truth(entry: dict[str, Any]) -> dict[str, Any]:
    return {"generated": entry["generated"], "hallucinated": entry["hallucinated"]}


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def held_out(coco: Path, used: set[str]) -> list[str]:
    """The first photos with captions and instances of which nothing is mined."""
    index = read_json(coco / "index.json")
    both = [entry["file"] for entry in index if entry["captions"] and entry["instances"]]
    return sorted((file for file in both if Path(file).name not in used), key=lambda file: Path(file).name)[:HELD_OUT]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Everything run once: objects, scores, formatting, five training steps, captions, CHAIR."""
    data, root = real_data(), tmp_path_factory.mktemp("photos")
    text = (data / "coco" / "lvlm_captions_for_images.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text.splitlines()]
    captions, images = numbered(entries), root / "images"
    images.mkdir()
    mined = sorted({entry["file"] for entry in entries})
    for file in [*mined, *held_out(data / "coco", {Path(file).name for file in mined})]:
        (images / Path(file).name).symlink_to(data / "coco" / file)
    done = Photos(root, data, captions)
    mine(done, write_lines(root / "captions.jsonl", captions))
    unlearn_and_judge(done)
    return done


def mine(photos: Photos, captions: Path) -> None:
    """Captions -> objects -> scores -> spans."""
    root = photos.root
    script("insight/object.py", "--caption_data_path", captions, "--object_data_path", root / "objects.jsonl")
    script(
        "insight/clip.py", "--object_data_path", root / "objects.jsonl", "--score_data_path", root / "scores.jsonl",
        "--image_dir_path", root / "images", "--annotation_path", photos.coco / "annotations",
        "--clip_model", MINI_CLIP, "--allow_partial_truth", *AUTO,
    )  # fmt: skip
    script(
        "finetune/format_data.py", "--score_data_path", root / "scores.jsonl",
        "--pos_neg_data_path", root / "pos_neg.json", "--sentence_data_path", root / "sentences.json", *AUTO,
    )  # fmt: skip


def unlearn_and_judge(photos: Photos) -> None:
    """Five steps, captions of the photos that are left, CHAIR of these and of the real models' captions."""
    root = photos.root
    spans = ("--pos_neg_data_path", root / "pos_neg.json", "--sentence_data_path", root / "sentences.json")
    script(
        "finetune/train.py", *spans, "--image_dir_path", root / "images", "--llava_ckpt_save_path", root / "trained",
        "--max_steps", STEPS, "--train_bs", 4, "--logging_steps", 1, "--report_to", "none", *AUTO,
    )  # fmt: skip
    script(
        "evaluate/eval_caption.py", *spans, "--image_dir_path", root / "images",
        "--llava_ckpt_load_path", root / "trained", "--caption_eval_path", root / "after.jsonl",
        "--generate_num_beams", 1, "--max_new_tokens", 80, "--default_eval_samples", HELD_OUT,
    )  # fmt: skip
    for name in ("after", "captions"):
        script(
            "evaluate/eval_auto.py", "--caption_eval_path", root / f"{name}.jsonl", "--allow_missing",
            "--allow_partial_truth", "--annotation_path", photos.coco / "annotations",
            "--result_path", root / f"{name}.json",
        )  # fmt: skip


def test_every_caption_has_its_objects_at_their_places(photos: Photos) -> None:
    records = photos.lines("objects.jsonl")
    assert [(r["image_id"], r.get("sample", 0), r["caption"]) for r in records] == [
        (c["image_id"], c["sample"], c["caption"]) for c in photos.captions
    ]
    mentions = [(r["caption"], o) for r in records for o in r["objects"]]
    assert all(text[o["start"] : o["end"]] == o["text"] for text, o in mentions)
    assert len(mentions) > 5 * len(records)
    assert not {o["text"].lower() for _, o in mentions} & {"image", "kitchen", "background", "bathroom"}


def test_every_photo_and_every_mention_is_scored(photos: Photos) -> None:
    objects, scored = photos.lines("objects.jsonl"), photos.lines("scores.jsonl")
    assert len({r["image"] for r in scored}) == 17
    bare = [{**r, "objects": [{**o, "score": None} for o in r["objects"]]} for r in scored]
    assert bare == objects
    scores = [o["score"] for r in scored for o in r["objects"]]
    assert all(-100 <= s <= 100 for s in scores) and len({round(s) for s in scores}) > 10
    same = {(r["image"], o["text"].lower()): set() for r in scored for o in r["objects"]}
    for r in scored:
        for o in r["objects"]:
            same[r["image"], o["text"].lower()].add(o["score"])
    assert all(len(values) == 1 for values in same.values())  # one image, one text, one score


def test_labels_of_the_mentions_follow_the_annotations(photos: Photos) -> None:
    """As many hallucinated mentions as the original CHAIR code has, give or take the extractor's few misses."""
    quality = read_json(photos.root / "scores.jsonl.manifest.json")["quality"]
    theirs = sum(len(c["hallucinated"]) for c in photos.captions)
    total = sum(len(c["generated"]) for c in photos.captions)
    labelled = quality["present"]["n"] + quality["hallucinated"]["n"]
    assert 0.85 * total < labelled < 1.1 * total
    assert 0.6 * theirs < quality["hallucinated"]["n"] < 1.4 * theirs


def test_spans_are_sub_sentences_that_name_a_scored_object(photos: Photos) -> None:
    scored, spans = photos.lines("scores.jsonl"), read_json(photos.root / "pos_neg.json")
    for sample in spans:
        start, end = sample["position"], len(sample["sentence"])
        sources = [r for r in scored if r["image"] == sample["image"] and r["caption"].startswith(sample["sentence"])]
        assert any((start, end) == (s.start, s.end) for r in sources for s in split_spans(r["caption"]))
        inside = [[o["score"] for o in r["objects"] if start <= o["start"] and o["end"] <= end] for r in sources]
        assert any(own and sample["score"] in (min(own), max(own)) for own in inside)
    keys = [(s["image"], s["sentence"], s["position"]) for s in spans]
    assert len(keys) == len(set(keys)) > len(photos.captions)
    for sample in read_json(photos.root / "sentences.json"):
        texts = [r for r in scored if (r["image"], r["caption"]) == (sample["image"], sample["sentence"])]
        own = [o["score"] for o in texts[0]["objects"]]  # two models said the same of one photo
        assert sample["min"] == min(own) and sample["mean"] == pytest.approx(sum(own) / len(own))


def test_counts_of_the_sets_are_those_of_the_thresholds(photos: Photos) -> None:
    notes = read_json(photos.root / "pos_neg.json.manifest.json")
    cut, counts = notes["thresholds"], notes["counts"]
    scores = [sample["score"] for sample in read_json(photos.root / "pos_neg.json")]
    assert counts["negatives"] == sum(s < cut["hallucinated"] for s in scores) > 0
    assert counts["positives"] == sum(s > cut["grounded"] for s in scores) > 0
    assert counts["captions"] == len(photos.captions)


def test_five_steps_on_real_photos_change_the_trained_tensors_alone(photos: Photos) -> None:
    trained = load_file(str(photos.root / "trained" / "trained.safetensors"))
    base = load_file(str(MINI_LLAVA / "model.safetensors"))
    places = {"connector.0": "multi_modal_projector.linear_1", "connector.2": "multi_modal_projector.linear_2"}
    assert {name.rpartition(".")[0] for name in trained} == set(places) and len(trained) == 4
    for name, tensor in trained.items():
        module, _, kind = name.rpartition(".")
        old = base[f"{places[module]}.{kind}"]
        assert tensor.shape == old.shape and torch.isfinite(tensor).all()
        difference = (tensor - old.float()).abs().max().item()
        assert 1e-5 < difference < 0.1  # five steps of AdamW: some, and not much
    log = read_json(photos.root / "trained" / "trained.safetensors.manifest.json")["log"]
    losses = [entry["loss_pos"] for entry in log if "loss_pos" in entry]
    assert len(losses) == STEPS and all(0 < loss < 30 for loss in losses)


def test_photos_of_the_training_are_not_captioned(photos: Photos) -> None:
    captions = photos.lines("after.jsonl")
    mined = {c["image"] for c in photos.captions}
    assert len(captions) == HELD_OUT and not {c["image"] for c in captions} & mined
    assert all(len(c["caption"].split()) > 5 for c in captions)


def test_chair_of_the_models_captions_equals_a_plain_recount(photos: Photos) -> None:
    """Against the ground truth that the original code cached, and by looking words up in the list by hand."""
    result = read_json(photos.root / "after.json")
    truth = read_json(photos.coco / "gt_objects.json")
    mentions = hallucinated = bad = 0
    for record in photos.lines("after.jsonl"):
        found = plain_objects(record["caption"])
        wrong = [name for name in found if name not in truth[str(record["image_id"])]]
        mentions, hallucinated, bad = mentions + len(found), hallucinated + len(wrong), bad + bool(wrong)
    assert result["n"] == HELD_OUT and mentions > HELD_OUT
    assert result["counts"]["mentions"] == mentions
    assert result["counts"]["hallucinated"] == hallucinated
    assert result["scores"]["chair_s"] == pytest.approx(bad / HELD_OUT)


def test_chair_of_real_captions_is_that_of_the_original_code(photos: Photos) -> None:
    """Of the photos whose ground truth the annotations here give in full."""
    full = {e["image_id"] for e in read_json(photos.coco / "index.json") if e["captions"] and e["instances"]}
    units = read_json(photos.root / "captions.json")["units"]
    own = dict(
        zip(units["ids"], (dict(zip(units["columns"], row, strict=True)) for row in units["counts"]), strict=True)
    )
    expected = {f"{c['image_id']}/{c['sample']}": c for c in photos.captions if c["image_id"] in full}
    assert len(expected) == 39
    assert sum(own[key]["mentions"] for key in expected) == sum(len(c["generated"]) for c in expected.values())
    assert sum(own[key]["hallucinated"] for key in expected) == sum(len(c["hallucinated"]) for c in expected.values())
