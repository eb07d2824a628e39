"""Asking a model: batches, prompts, resuming byte for byte, lost images. The model is a stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.errors import DataError
from common.files.images import ImageFolder
from common.files.storage import ResumableLines
from common.prompts import POPE
from evaluate.answers.questions import Question
from evaluate.benchmarks.answering import Decoding, answer_questions


class Parrot:
    """Answers with its prompt; fails after a number of batches if told so."""

    def __init__(self, batches: int = 1000) -> None:
        self.left = batches
        self.seen: list[dict[str, Any]] = []

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """A template."""
        return f"USER: {prompt} ASSISTANT:{context}"

    def generate(self, images: Sequence[Any], texts: Sequence[str], **decoding: Any) -> list[str]:
        """The prompts, marked."""
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append({"n": len(images), **decoding})
        return [f" {text} " for text in texts]


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    """Seven small pictures."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(7):
        Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
    return ImageFolder(folder)


QUESTIONS = [Question(f"q{i}", f"Is there a {i}?", "yes", f"{i}.png") for i in range(7)]
DECODING = Decoding(batch_size=3)


def ask(load: Any, questions: list[Question], images: ImageFolder, template: str, path: Path) -> None:
    """Into a file."""
    with ResumableLines(path, key=lambda value: str(value["question_id"])) as lines:
        answer_questions(load, questions, images, template, lines, DECODING)


def test_batches_prompt_and_decoding(images: ImageFolder, tmp_path: Path) -> None:
    model, path = Parrot(), tmp_path / "a.jsonl"
    ask(lambda: model, QUESTIONS, images, POPE, path)
    assert [call["n"] for call in model.seen] == [3, 3, 1]
    assert model.seen[0] == {"n": 3, "num_beams": 1, "max_new_tokens": 64, "length_penalty": 0.0}
    wanted = "USER: According to the given image, answer yes or no to the question faithfully: Is there a 0? ASSISTANT:"
    assert f'"answer": "{wanted}"' in path.read_text().splitlines()[0]


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_e7_a_broken_run_continues_to_the_same_bytes(images: ImageFolder, tmp_path: Path, finished: int) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    ask(Parrot, QUESTIONS, images, POPE, whole)
    with pytest.raises(KeyboardInterrupt):
        ask(lambda: Parrot(finished), QUESTIONS, images, POPE, broken)
    with broken.open("a") as file:
        file.write('{"question_id": "q3", "ans')  # what a kill leaves of a line
    ask(Parrot, QUESTIONS, images, POPE, broken)
    assert broken.read_bytes() == whole.read_bytes()


def test_nothing_left_to_ask_loads_no_model(images: ImageFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ask(Parrot, QUESTIONS, images, POPE, path)

    def load() -> Parrot:
        raise AssertionError("loaded")

    ask(load, QUESTIONS, images, POPE, path)


def test_missing_images_are_named_before_the_model_is_loaded(images: ImageFolder, tmp_path: Path) -> None:
    questions = [*QUESTIONS, Question("q9", "?", "no", "9.png")]
    with pytest.raises(DataError, match=r"image 9.png is not in"):
        ask(Parrot, questions, images, POPE, tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="question q8 has no image"):
        ask(Parrot, [Question("q8", "?", "no")], images, POPE, tmp_path / "b.jsonl")


def test_unreadable_images_fail_the_run_beyond_one_percent(images: ImageFolder, tmp_path: Path) -> None:
    (images.path / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 7 images"):
        ask(Parrot, QUESTIONS, images, POPE, tmp_path / "a.jsonl")


def test_braces_in_a_question_are_text(images: ImageFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ask(Parrot, [Question("q", "What is {x}?", "", "0.png")], images, "{question}", path)
    assert "What is {x}?" in path.read_text()
