"""Ground truth and image names as people have them that once gave a wrong score without a word (`cases/`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.files.gold import truth_from_file
from common.files.vocabulary import read_vocabulary
from evaluate import eval_auto
from tests.unit.evaluate.scripts import CASES, Scripts, write_lines

SYNONYM, NAMES = CASES / "gold_by_synonym", CASES / "file_name_without_id"


@pytest.mark.parametrize("name", ["gold_ok.json", "gold_syn.json", "gold_case.json"])
def test_gold_names_go_through_the_synonym_list(scripts: Scripts, name: str) -> None:
    argv = ("--caption_eval_path", SYNONYM / "caps.jsonl", "--gold_objects_path", SYNONYM / name)
    scores = scripts.run(eval_auto, *argv)["scores"]
    assert (scores["chair_s"], scores["chair_i"], scores["recall"]) == (0.0, 0.0, 1.0)


def test_categories_under_other_names_and_half_of_the_truth(scripts: Scripts) -> None:
    """The folder holds instances alone: refused, as the field's own code needs both, or said in the result."""
    argv = ("--caption_eval_path", SYNONYM / "caps.jsonl", "--annotation_path", SYNONYM / "ann_syn")
    error = scripts.refused(eval_auto, *argv)
    assert "3 of 3 images have instances but no captions" in error and "--allow_partial_truth" in error
    found = scripts.run(eval_auto, *argv, "--allow_partial_truth")
    assert (found["scores"]["chair_s"], found["scores"]["chair_i"]) == (0.0, 0.0)
    assert found["counts"]["images_without_captions"] == 3
    assert "partial truth: 3 images without captions" in found["definition"]


def folder_of(path: Path, **files: Any) -> Path:
    """An annotation folder."""
    path.mkdir(exist_ok=True)
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


IMAGES = [{"id": i, "file_name": f"img{i}.jpg"} for i in (1, 2)]
DOGS = {
    "images": IMAGES,
    "categories": [{"id": 1, "name": "dog"}],
    "annotations": [{"image_id": 1, "category_id": 1}],
}
WORDS = {"images": IMAGES, "annotations": [{"image_id": i, "caption": "A dog."} for i in (1, 2)]}


@pytest.mark.parametrize(
    ("instances", "captions", "message"),
    [
        (DOGS, {**WORDS, "annotations": WORDS["annotations"][1:]}, "1 of 2 images have instances but no captions"),
        ({**DOGS, "images": IMAGES[:1]}, WORDS, "1 of 2 images have captions but no instances"),
        (None, WORDS, "2 of 2 images have captions but no instances"),
    ],
)
def test_half_of_the_truth_of_some_images(
    scripts: Scripts, tmp_path: Path, instances: Any, captions: Any, message: str
) -> None:
    """Image 2 is listed among the instances without any, as COCO has some: it is complete with its caption."""
    caps = write_lines(tmp_path / "c.jsonl", [{"image_id": i, "caption": "A dog."} for i in (1, 2)])
    whole = folder_of(tmp_path / "whole", instances=DOGS, captions=WORDS)
    assert scripts.run(eval_auto, "--caption_eval_path", caps, "--annotation_path", whole)["scores"]["chair_s"] == 0
    files = {"captions": captions} | ({"instances": instances} if instances else {})
    half = folder_of(tmp_path / "half", **files)
    assert message in scripts.refused(eval_auto, "--caption_eval_path", caps, "--annotation_path", half)
    found = scripts.run(eval_auto, "--caption_eval_path", caps, "--annotation_path", half, "--allow_partial_truth")
    assert "partial truth" in found["definition"]


def test_an_unknown_name_is_refused_by_name(scripts: Scripts, tmp_path: Path) -> None:
    caps = write_lines(tmp_path / "c.jsonl", [{"image_id": 1, "caption": "A dog."}])
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps({"1": ["dog", "unicorn"]}))
    assert "'unicorn'" in scripts.refused(eval_auto, "--caption_eval_path", caps, "--gold_objects_path", gold)
    odd = folder_of(tmp_path / "odd", instances={**DOGS, "categories": [{"id": 1, "name": "unicorn"}]}, captions=WORDS)
    assert "'unicorn'" in scripts.refused(eval_auto, "--caption_eval_path", caps, "--annotation_path", odd)


def test_the_file_name_of_the_annotations_decides(scripts: Scripts) -> None:
    """The name ends in 901, which is the id of another image."""
    argv = ("--caption_eval_path", NAMES / "cap.jsonl", "--annotation_path", NAMES / "ann", "--allow_partial_truth")
    found = scripts.run(eval_auto, *argv)
    assert (found["scores"]["chair_s"], found["manifest"]["image_ids"]) == (0.0, [1])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"image": "003a8ae2ef43b901.png", "image_id": 901}, "has id 901 in its record, but 1 in"),
        ({"image": "copy_901.png"}, "its number 901 is that of other.png"),
        ({"image": "unknown.png"}, "no ground truth"),
    ],
)
def test_names_and_ids_that_contradict_the_annotations(
    scripts: Scripts, tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    caps = write_lines(tmp_path / "c.jsonl", [record | {"caption": "A dog."}])
    argv = ("--caption_eval_path", caps, "--annotation_path", NAMES / "ann", "--allow_partial_truth")
    assert message in scripts.refused(eval_auto, *argv)


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "1"},
        {"image_id": True},
        {"image_id": 1.5},
        {"image_id": None},
        {"category_id": "1"},
        {"category_id": 77},
        {"category_id": None},
    ],
)
def test_annotations_of_another_type_are_refused(scripts: Scripts, tmp_path: Path, change: dict[str, Any]) -> None:
    caps = write_lines(tmp_path / "c.jsonl", [{"image_id": 1, "caption": "A dog."}])
    bad = {**DOGS, "annotations": [{"image_id": 1, "category_id": 1} | change]}
    folder = folder_of(tmp_path / "bad", instances=bad, captions=WORDS)
    assert "instances.json" in scripts.refused(eval_auto, "--caption_eval_path", caps, "--annotation_path", folder)


def test_files_of_no_matter_are_passed_over(scripts: Scripts, tmp_path: Path) -> None:
    """macOS's companions, keypoints of persons, result lists and files of other content."""
    caps = write_lines(tmp_path / "c.jsonl", [{"image_id": 1, "caption": "A dog."}])
    persons = {**DOGS, "annotations": [{"image_id": 1, "category_id": 1, "keypoints": []}]}
    folder = folder_of(tmp_path / "all", instances=DOGS, captions=WORDS, persons=persons, results=[{"image_id": 1}])
    (folder / "._instances.json").write_bytes(b"\x00\x05\x16\x07")
    assert scripts.run(eval_auto, "--caption_eval_path", caps, "--annotation_path", folder)["n"] == 1


def test_an_image_of_thousands_of_digits_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "gold.json").write_text(json.dumps({"9" * 5000: ["dog"], "42": ["cat"]}))
    truth = truth_from_file(tmp_path / "gold.json", read_vocabulary())
    assert truth.objects[42] == {"cat"} and len(truth.objects) == 2
