"""Any names of images and objects in any of the files: CHAIR of a plain reference, or one line and exit code 2."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from evaluate import eval_auto
from tests.unit.evaluate.scripts import Scripts, write_lines

NAMES = {
    "dog": ["dog", "Dog", "puppy", " dog "],
    "couch": ["couch", "SOFA", "sofa"],
    "airplane": ["airplane", "Plane"],
    "cell phone": ["cell phone", "cell_phone", "Cell-Phone", "phone"],
    "horse": ["horse", "HORSE"],
}
SAID = {"dog": "puppy", "couch": "sofa", "airplane": "plane", "cell phone": "phone", "horse": "horse"}
FILES = [
    "{:012d}.jpg",
    "COCO_val2014_{:012d}.jpg",
    "{:02x}a3f{:d}.png",
    "2007_{:06d}.jpg",
    "Käse {:d}.png",
    "x/{:d}_a.jpg",
]


def world(rng: random.Random) -> tuple[dict[int, str], dict[int, set[str]], dict[int, list[str]]]:
    """Images with file names, the objects in them and the objects that a model says of them."""
    ids = rng.sample(range(1, 1000), rng.randint(1, 5))
    pattern = rng.choice(FILES)
    files = {
        i: pattern.format(i, i) if "COCO" in pattern or pattern.startswith("{:012") else pattern.format(7 * i, i)
        for i in ids
    }
    there = {i: set(rng.sample(sorted(NAMES), rng.randint(1, 4))) for i in ids}
    return files, there, {i: rng.sample(sorted(NAMES), rng.randint(1, 3)) for i in ids}


def annotations(folder: Path, rng: random.Random, files: dict[int, str], there: dict[int, set[str]]) -> Path:
    """Instances under any names, in some images spoken of in the human captions alone."""
    folder.mkdir()
    words = [(node, name) for node in NAMES for name in NAMES[node]]
    images = [{"id": i, "file_name": name} for i, name in files.items()]
    boxes, captions = [], []
    for i, nodes in there.items():
        seen = set(rng.sample(sorted(nodes), rng.randint(0, len(nodes))))
        boxes += [
            {"image_id": i, "category_id": rng.choice([k for k, w in enumerate(words) if w[0] == n])} for n in seen
        ]
        captions += [{"image_id": i, "caption": f"A {SAID[n]}."} for n in nodes - seen] or [
            {"image_id": i, "caption": "."}
        ]
    categories = [{"id": k, "name": name} for k, (_, name) in enumerate(words)]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": categories}), encoding="utf-8"
    )
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}), encoding="utf-8")
    return folder


def records(rng: random.Random, files: dict[int, str], said: dict[int, list[str]]) -> list[dict[str, Any]]:
    """Captions with the image's name, its id, or both, in any order."""
    fields = rng.choice([("image",), ("image_id",), ("image", "image_id")])
    rows = []
    for i, nodes in said.items():
        known: dict[str, Any] = {"image": rng.choice([files[i], Path(files[i]).name]), "image_id": i}
        text = " and ".join(f"a {SAID[node]}" for node in nodes)
        rows.append({name: known[name] for name in fields} | {rng.choice(["caption", "text"]): text})
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", range(30))
def test_chair_is_that_of_a_plain_reference(scripts: Scripts, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    files, there, said = world(rng)
    captions = write_lines(tmp_path / "c.jsonl", records(rng, files, said))
    folder = annotations(tmp_path / "annotations", rng, files, there)
    counts = scripts.run(eval_auto, "--caption_eval_path", captions, "--annotation_path", folder)["counts"]
    wrong = [sum(node not in there[i] for node in nodes) for i, nodes in said.items()]
    expected = sum(map(len, said.values())), sum(wrong), sum(number > 0 for number in wrong)
    assert (counts["mentions"], counts["hallucinated"], counts["captions_with_hallucination"]) == expected
    gold = tmp_path / "gold.json"
    key = rng.choice([str, lambda i: files[i]])
    gold.write_text(json.dumps({key(i): [rng.choice(NAMES[n]) for n in nodes] for i, nodes in there.items()}))
    argv = ("--caption_eval_path", captions, "--gold_objects_path", gold)
    found = scripts.outcome(eval_auto, *argv)  # None where ids and names of the two files have nothing in common
    assert found is None or found["counts"]["hallucinated"] == expected[1]


@pytest.mark.parametrize("seed", range(20))
def test_contradictions_and_halves_are_refused(scripts: Scripts, tmp_path: Path, seed: int) -> None:
    rng = random.Random(500 + seed)
    files, there, said = world(rng)
    rows = [{"image": files[i], "image_id": i, "caption": "A dog."} for i in said]
    folder = annotations(tmp_path / "annotations", rng, files, there)
    kind = rng.choice(["id", "unknown name", "no captions", "no instances", "type"])
    instances = json.loads((folder / "instances.json").read_text())
    if kind == "id":
        rows[0]["image_id"] = 5000
    elif kind == "unknown name":
        instances["categories"][0]["name"] = "gryphon"
        instances["annotations"].append({"image_id": rows[0]["image_id"], "category_id": 0})
    elif kind == "type":
        instances["annotations"].append({"image_id": rng.choice([True, None, "1", 1.5]), "category_id": 0})
    (folder / "instances.json").write_text(json.dumps(instances))
    if kind.startswith("no "):
        (folder / f"{kind.removeprefix('no ')}.json").unlink()
    captions = write_lines(tmp_path / "c.jsonl", rows)
    scripts.refused(eval_auto, "--caption_eval_path", captions, "--annotation_path", folder)
