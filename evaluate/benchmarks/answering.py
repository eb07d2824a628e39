"""Answers of a model to benchmark questions: in batches, written one by one, continued by question id after a kill.

Every benchmark script uses this one way of asking; only the prompt differs (`common.prompts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from common.errors import DataError
from common.files.images import ImageFolder
from common.files.record_files import answer_to_json
from common.files.records import Answer
from common.files.storage import ResumableLines
from common.paths import display
from common.progress import announce, bar, batches
from evaluate.answers.questions import Question


class Answerer(Protocol):
    """What is needed of a model; every adapter of `common.models` has it."""

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input of one prompt."""

    def generate(self, images: Sequence[Any], texts: Sequence[str], **decoding: Any) -> list[str]:
        """One answer a text."""


@dataclass(frozen=True)
class Decoding:
    """How answers are generated; the published benchmarks are greedy."""

    num_beams: int = 1
    max_new_tokens: int = 64
    length_penalty: float = 0.0
    batch_size: int = 32


def answer_questions(
    load: Callable[[], Answerer],
    questions: Sequence[Question],
    images: ImageFolder,
    template: str,
    path: Path | str,
    decoding: Decoding,
    restart: bool = False,
) -> Path:
    """Ask every question that the file does not answer yet, and return the file.

    Args:
        load: makes the model; called only if there is something to ask.
        questions: all of them have an image.
        template: prompt with `{question}`.
        path: JSON Lines of `common.files.records.Answer`.
        restart: forget what an earlier run left.

    Raises DataError: a question without image, an image that is missing, or more than 1 % that cannot be read.
    """
    without = [q.key for q in questions if not q.image]
    if without:
        raise DataError(f"question {without[0]} has no image ({len(without)} in all); leave such questions out")
    images.require(q.image for q in questions)
    with ResumableLines(path, key=lambda value: str(value["question_id"]), restart=restart) as lines:
        todo = [q for q in questions if q.key not in lines.done]
        announce(
            f"{len(todo)} of {len(questions)} questions to answer into {display(path)}, "
            f"{-(-len(todo) // decoding.batch_size)} batches"
        )
        model = load() if todo else None
        for batch in bar(batches(todo, decoding.batch_size), "answers", -(-len(todo) // decoding.batch_size)):
            assert model is not None
            lines.write(answer_to_json(record) for record in _answer_batch(model, batch, images, template, decoding))
    images.check_losses(len(questions))
    return Path(path)


def _answer_batch(
    model: Answerer, batch: Sequence[Question], images: ImageFolder, template: str, decoding: Decoding
) -> list[Answer]:
    """Answers of the questions whose image can be read."""
    opened = [(q, images.open(q.image)) for q in batch]
    readable = [(q, image) for q, image in opened if image is not None]
    if not readable:
        return []
    texts = [model.format_prompt(template.replace("{question}", q.text)) for q, _ in readable]
    answers = model.generate(
        [image for _, image in readable],
        texts,
        num_beams=decoding.num_beams,
        max_new_tokens=decoding.max_new_tokens,
        length_penalty=decoding.length_penalty,
    )
    pairs = zip(readable, answers, strict=True)
    return [Answer(q.key, text.strip(), q.text, q.label, q.image) for (q, _), text in pairs]
