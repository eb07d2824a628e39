"""Answers of a model to benchmark questions: in batches, written one by one, continued by question id after a kill.

Every benchmark script uses this one way of asking; only the prompt differs (`common.prompts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    lines: ResumableLines,
    decoding: Decoding,
) -> None:
    """Ask every question that the file does not answer yet.

    An answer must not depend on where an earlier run was killed: batches are cut by position in the list, and one that
    was only partly written is asked whole again.

    Args:
        load: makes the model; called only if there is something to ask.
        questions: all of them have an image.
        template: prompt with `{question}`.
        lines: JSON Lines of `common.files.records.Answer`.

    Raises DataError: a question without image, an image that is missing, or more than 1 % that cannot be read.
    """
    without = [q.key for q in questions if not q.image]
    if without:
        raise DataError(f"question {without[0]} has no image ({len(without)} in all); leave such questions out")
    images.require(q.image for q in questions)
    todo = [b for b in batches(list(questions), decoding.batch_size) if any(q.key not in lines.done for q in b)]
    left = sum(q.key not in lines.done for q in questions)
    announce(f"{left} of {len(questions)} questions to answer into {display(lines.path)}, {len(todo)} batches")
    model = load() if todo else None
    for batch in bar(todo, "answers", len(todo)):
        assert model is not None
        answers = _answer_batch(model, batch, images, template, decoding)
        lines.write(answer_to_json(answer) for answer in answers if answer.question_id not in lines.done)
    images.check_losses(len(questions))


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
