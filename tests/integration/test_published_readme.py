"""The published README, walked word for word in a checkout of its own with tiny checkpoints of the four models."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.files.storage import read_json
from common.paths import ROOT
from tests.forks.scripts import run
from tests.integration.test_every_family import CAPTION, WRITERS
from tests.unit.models.tiny_checkpoints import write_tokenizer

ROOMS = ("common", "finetune", "evaluate", "insight")
TRAINED, HELD_OUT = 12, 4
OBJECTS = ("dog", "bench", "cat")
FAMILIES = ("llava", "share4v", "owl", "minigpt")


def pictures(folder: Path, names: list[str]) -> None:
    """Small pictures of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(names))
    for name in names:
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / name)


def coco_name(number: int) -> str:
    """As COCO names its training images."""
    return f"COCO_train2014_{number:012d}.jpg"


def write(path: Path, value: Any) -> None:
    """JSON, or text as it is, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def prepare_training(dataset: Path) -> None:
    """Images, annotations, the two sets and objects.txt where the README puts them."""
    names = [coco_name(i) for i in range(1, TRAINED + HELD_OUT + 1)]
    pictures(dataset / "images", names)
    used = names[:TRAINED]
    spans = [
        {"image": name, "sentence": CAPTION[:end], "position": start, "score": score}
        for name in used
        for start, end, score in ((0, 6, 40.0), (6, 22, 15.0))
    ]
    write(dataset / "pos_neg.json", spans)
    write(dataset / "sentences.json", [{"image": n, "sentence": CAPTION, "mean": 30.0, "min": 26.0} for n in used])
    write(dataset / "objects.txt", "".join(f"{name} ### 0 ### dog, bench\n" for name in used))
    images = [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(OBJECTS, start=1)]
    for side, those in (("train", images), ("val", [])):
        labels = [{"id": i, "image_id": image["id"], "category_id": 1} for i, image in enumerate(those)]
        write(
            dataset / "annotations" / f"instances_{side}2014.json",
            {"images": those, "categories": categories, "annotations": labels},
        )
        texts = [{"id": i, "image_id": image["id"], "caption": "A dog."} for i, image in enumerate(those)]
        write(dataset / "annotations" / f"captions_{side}2014.json", {"images": those, "annotations": texts})


def prepare_benchmarks(root: Path) -> None:
    """MME as released, in dataset/mme; the others where LLaVA's instructions put them."""
    for subtask in ("existence", "artwork"):
        folder = root / "dataset" / "mme" / subtask
        apart = subtask == "artwork"
        pictures(folder / "images" if apart else folder, ["0001.jpg", "0002.jpg"])
        for stem in ("0001", "0002"):
            lines = "Is there a dog? Please answer yes or no.\tYes\nIs there a cat? Please answer yes or no.\tNo\n"
            write((folder / "questions_answers_YN" if apart else folder) / f"{stem}.txt", lines)
    play = root / "LLaVA" / "playground" / "data" / "eval"
    question = {"question": "Is it red?", "answer": "no", "imageId": "n1", "types": {"structural": "verify"}}
    write(play / "gqa/data/questions1.2/testdev_balanced_questions.json", {"1": question})
    pictures(play / "gqa/data/images", ["n1.jpg"])
    turns = [
        {"from": "human", "value": "<image>\nWhich?\nA. one\nB. two"},
        {"from": "gpt", "value": "A"},
    ]
    write(play / "scienceqa/llava_test_CQM-A.json", [{"id": "7", "image": "7/image.png", "conversations": turns}])
    pictures(play / "scienceqa/ScienceQA_DATA/test/7", ["image.png"])
    low = {"img_path": "1.jpg", "question": "Sharp?", "candidates": ["Yes", "No"], "correct_ans": "No"}
    write(play / "qbench/llvisionqa_dev.json", [low])
    pictures(play / "qbench/images", ["1.jpg"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's code in a folder of its own, with data where the README puts them."""
    root = tmp_path_factory.mktemp("published") / "efuf"
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dataset").mkdir()
    for path in (ROOT / "dataset").iterdir():
        if path.suffix in (".py", ".txt", ".tsv", ".gz"):
            shutil.copy(path, root / "dataset")
    shutil.copytree(ROOT / "dataset" / "nouns", root / "dataset" / "nouns")
    prepare_training(root / "dataset")
    prepare_benchmarks(root)
    write_tokenizer(root.parent / "tokenizer.model")
    for name in FAMILIES:
        WRITERS[name](root.parent / name, root.parent / "tokenizer.model")
    return root


def follow(checkout: Path, command: str) -> str:
    """A command of the README, from the folder that it names; its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "WANDB_MODE": "disabled"
    }
    done = run(command.split()[1:], checkout, environment)
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return str(done.stdout + done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_the_commands_of_the_readme(checkout: Path, model: str) -> None:
    base = checkout.parent / model
    said = follow(checkout, f"python finetune/train.py --model {model} --{model}_path {base} --run_name mine")
    for place in ("dataset/pos_neg.json", "dataset/sentences.json", "dataset/images"):
        assert f"using {place}" in said
    trained = f"checkpoints/{model}/mine"
    assert (checkout / trained / "trained.safetensors").is_file()

    load = f"--model {model} --{model}_path {base} --{model}_ckpt_load_path {trained}"
    said = follow(checkout, f"python evaluate/eval_caption.py {load} --caption_eval_path {model}.jsonl")
    assert f"{TRAINED} images of training are left out, by {trained}/split.json" in said
    images = [json.loads(line)["image"] for line in (checkout / f"{model}.jsonl").read_text().splitlines()]
    assert images == [coco_name(i) for i in range(TRAINED + 1, TRAINED + HELD_OUT + 1)]

    said = follow(checkout, f"python evaluate/eval_auto.py --caption_eval_path {model}.jsonl")
    assert "using dataset/annotations" in said and "chair_s" in said

    for task, items in (("mme", 8), ("gqa", 1), ("sqa", 1), ("qbench", 1)):
        how = "--run_name skip_train --generate_num_beams 1 --generate_temperature 0"
        follow(checkout, f"python evaluate/eval_{task}.py {load} {how}")
        assert read_json(checkout / "results" / task / f"skip_train_{model}_mine.json")["n"] == items


@pytest.mark.slow
def test_the_example_of_the_readme_and_the_base_model(checkout: Path) -> None:
    base = checkout.parent / "llava"
    follow(checkout, f"python finetune/train.py --model llava --llava_path {base} --wandb_user starreeze")
    assert (checkout / "checkpoints" / "llava-efuf" / "trained.safetensors").is_file()
    said = follow(checkout, f"python evaluate/eval_caption.py --model llava --llava_path {base} --run_name skip_train")
    assert f"{TRAINED} images of training are left out, by dataset/objects.txt" in said
    assert (checkout / "results" / "captions" / "skip_train_llava_base.jsonl").is_file()
