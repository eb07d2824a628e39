"""Each benchmark script from questions and images to scores, with a stand-in model that always says the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.errors import ArgumentError, UserError
from evaluate import eval_amber, eval_gqa, eval_mme, eval_pope, eval_qbench, eval_sqa


class Constant:
    """A model that gives one answer and remembers its prompts."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.prompts: list[str] = []

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The prompt alone."""
        return prompt + context

    def generate(self, images: Sequence[Any], texts: Sequence[str], **_: Any) -> list[str]:
        """The one answer, once a text."""
        assert len(images) == len(texts)
        self.prompts += texts
        return [self.answer] * len(texts)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four pictures."""
    folder = tmp_path / "images"
    (folder / "7").mkdir(parents=True)
    for name in ("0.jpg", "1.jpg", "2.jpg", "7/image.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, module: Any, folder: Path, model: Constant, *argv: str) -> Any:
    """The result of a script that asks `model`."""
    monkeypatch.setattr("common.models.load_from_args", lambda _: model)
    result = folder.parent / "result.json"
    asking = ("--image_dir_path", str(folder), "--answers_save_path", str(folder.parent / "answers.jsonl"))
    monkeypatch.setattr("sys.argv", ["script.py", *argv, *asking, "--result_path", str(result)])
    module.main()
    return json.loads(result.read_text())


def write(path: Path, value: Any) -> str:
    """JSON; the path as text."""
    path.write_text(json.dumps(value))
    return str(path)


def annotations(folder: Path) -> str:
    """Three images of three kinds of object each, nine kinds in all."""
    names = ["dog", "cat", "car", "bus", "cup", "bowl", "tie", "bed", "kite"]
    value = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)],
        "annotations": [{"image_id": n // 3, "category_id": n} for n in range(9)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
    }
    return write(folder / "instances.json", value)


def test_pope_on_built_questions(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    """Always yes: half right, recall 1, precision 0.5, F1 2/3, all answers yes."""
    model = Constant("Yes")
    found = run(monkeypatch, eval_pope, images, model, "--annotation_path", annotations(tmp_path))
    assert found["n"] == 54
    assert found["scores"]["accuracy"] == 0.5
    assert found["scores"]["f1"] == found["scores"]["f1_mean"] == pytest.approx(2 / 3)
    assert found["scores"]["yes_rate"] == 1.0
    assert set(found["splits"]) == {"random", "popular", "adversarial"}
    assert model.prompts[0].startswith("According to the given image, answer yes or no to the question faithfully: ")


def test_built_questions_are_kept_only_where_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    argv = ("--annotation_path", annotations(tmp_path), "--questions_save_path", str(tmp_path / "questions"))
    answers = tmp_path / "answers.jsonl"
    answers.write_text("mine\n")
    with pytest.raises(UserError):
        run(monkeypatch, eval_pope, images, Constant("Yes"), *argv)
    assert answers.read_text() == "mine\n" and not (tmp_path / "questions").exists()
    answers.unlink()
    run(monkeypatch, eval_pope, images, Constant("Yes"), *argv)
    assert {path.name for path in (tmp_path / "questions").iterdir()} == {
        f"pope_{split}.json" for split in ("random", "popular", "adversarial")
    }


def test_a_second_run_asks_nothing_and_other_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    source = ("--annotation_path", annotations(tmp_path))
    first = run(monkeypatch, eval_pope, images, Constant("Yes"), *source)
    silent = Constant("No")
    assert run(monkeypatch, eval_pope, images, silent, *source)["scores"] == first["scores"]
    assert silent.prompts == []
    with pytest.raises(ArgumentError, match="num_beams"):
        run(monkeypatch, eval_pope, images, silent, *source, "--generate_num_beams", "5")


def test_mme(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    """Always yes: half of the questions, no image with both: 50 points."""
    folder = tmp_path / "questions"
    folder.mkdir()
    lines = [f"{i}.jpg\tIs it? Please answer yes or no.\tYes\n{i}.jpg\tIs it not?\tNo\n" for i in range(3)]
    (folder / "count.txt").write_text("".join(lines))
    model = Constant("Yes")
    found = run(monkeypatch, eval_mme, images, model, "--question_path", str(folder), "--llava_wording")
    assert found["scores"]["count"] == 50.0
    assert model.prompts[0] == "Is it?\nAnswer the question using a single word or phrase."


def test_gqa(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    value = {str(i): {"question": "What?", "answer": "dog" if i else "cat", "imageId": str(i)} for i in range(3)}
    model = Constant("Dog.")
    found = run(monkeypatch, eval_gqa, images, model, "--question_path", write(tmp_path / "q.json", value))
    assert found["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert model.prompts[0] == "What?\nAnswer the question using a single word or phrase."


def test_scienceqa_asks_only_about_images(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    problem = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "", "split": "test"}
    value = {"7": problem | {"image": "image.png"}, "8": problem | {"image": None}}
    model = Constant("B")
    found = run(monkeypatch, eval_sqa, images, model, "--question_path", write(tmp_path / "q.json", value))
    assert (found["n"], found["scores"]["accuracy_image"]) == (1, 1.0)
    wanted = "Which?\nA. x\nB. y\nAnswer with the option's letter from the given choices directly."
    assert model.prompts == [wanted]


def test_qbench(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    row = {"question": "How bright?", "candidates": ["High", "Low"], "correct_ans": "Low"}
    value = [row | {"img_path": f"{i}.jpg"} for i in range(2)]
    found = run(
        monkeypatch, eval_qbench, images, Constant("I cannot say"), "--question_path", write(tmp_path / "q", value)
    )
    assert (found["scores"]["accuracy"], found["scores"]["unparseable"]) == (0.0, 1.0)


def test_amber(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "amber"
    data.mkdir()
    items = [
        {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
        {"id": 2, "type": "discriminative-hallucination", "truth": "no"},
    ]
    write(data / "annotations.json", items)
    write(data / "relation.json", {"dog": ["puppy"], "cat": []})
    (data / "safe_words.txt").write_text("sky\n")
    queries = [{"id": i, "image": f"{i}.jpg", "query": "Describe this image."} for i in (1, 2)]
    argv = ("--amber_path", str(data), "--question_path", write(tmp_path / "q.json", queries))
    found = run(monkeypatch, eval_amber, images, Constant("A puppy and a cat."), *argv)
    assert [found["scores"][name] for name in ("chair", "cover", "hal", "cog")] == [0.5, 1.0, 1.0, 1.0]
    assert (found["scores"]["accuracy"], found["scores"]["unparseable"]) == (0.0, 1.0)


def test_answers_of_one_question_file_are_not_taken_for_another_ones(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    """Both number their questions from 1; the right numbers come with a file of their own."""
    paths = []
    for split, name in (("adversarial", "cat"), ("popular", "cup")):
        row = {"question_id": 1, "image": "0.jpg", "text": f"Is there a {name} in the image?", "label": "no"}
        paths.append(tmp_path / f"coco_pope_{split}.json")
        paths[-1].write_text(json.dumps(row) + "\n")
    run(monkeypatch, eval_pope, images, Constant("No"), "--question_path", str(paths[0]))
    with pytest.raises(ArgumentError, match="questions_sha256"):
        run(monkeypatch, eval_pope, images, Constant("Yes"), "--question_path", str(paths[1]))
    found = run(monkeypatch, eval_pope, images, Constant("Yes"), "--question_path", str(paths[1]), "--restart")
    assert found["scores"]["accuracy"] == 0.0
