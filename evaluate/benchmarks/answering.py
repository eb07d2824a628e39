"""Answers of a model to benchmark questions: many at a time, written in order, continued by question id after a kill.

Every benchmark script uses this one way of asking; only the prompt differs (`common.prompts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.captioning.asking import BATCH, Generator, Request, Speaker, ask
from common.errors import DataError
from common.files.images import ImageFolder
from common.files.record_files import answer_to_json
from common.files.records import Answer
from common.files.storage import ResumableLines
from common.paths import display
from common.progress import announce, bar, batches
from evaluate.answers.questions import Question

WINDOW = 4096  # questions among which those about one image are put together


@dataclass(frozen=True)
class Decoding:
    """How answers are generated; the published benchmarks are greedy."""

    num_beams: int = 1
    max_new_tokens: int = 64
    length_penalty: float = 0.0
    batch_size: int | None = None  # answers made at a time; None: as many as are useful and fit into the memory


def answer_questions(
    load: Callable[[], Generator],
    questions: Sequence[Question],
    images: ImageFolder,
    template: str,
    lines: ResumableLines,
    decoding: Decoding,
) -> None:
    """Ask every question that the file does not answer yet.

    An answer must not depend on where an earlier run was killed: a model that grows trees makes each by itself, and
    those about one image share the work for it. What can only be asked in batches is cut by position in the list, and a
    batch that was only partly written is asked whole again.

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
    todo = [q for q in questions if q.key not in lines.done]
    announce(f"{len(todo)} of {len(questions)} questions to answer into {display(lines.path)}")
    if not todo:
        lines.share(todo, [q.key for group in _grouped(questions) for q in group])
    else:
        model = load()
        make = _answers if isinstance(model, Speaker) else _answers_in_batches
        for answers in make(model, questions, images, template, lines, decoding):
            lines.write(answer_to_json(answer) for answer in answers if answer.question_id not in lines.done)
    images.check_losses(len(questions))


def _answers(
    model: Any,
    questions: Sequence[Question],
    images: ImageFolder,
    template: str,
    lines: ResumableLines,
    decoding: Decoding,
) -> Iterator[list[Answer]]:
    """Answers about each image that lacks some: those in a window of the list stand together, in its order."""
    grouped = _grouped(questions)
    lacking = [[q for q in group if q.key not in lines.done] for group in grouped]
    todo = lines.share([g for g in lacking if g], [q.key for group in grouped for q in group])
    requests = [
        Request(group[0].image, tuple(_text(model, q, template) for q in group), tuple(q.key for q in group))
        for group in todo
    ]
    settings = {name: getattr(decoding, name) for name in ("num_beams", "max_new_tokens", "length_penalty")}
    said = ask(model, images, requests, settings, decoding.batch_size)
    for group, texts in bar(zip(todo, said, strict=True), "answers", len(todo), unit="img"):
        yield [_answer(q, text) for q, text in zip(group, texts or (), strict=False)]


def _grouped(questions: Sequence[Question]) -> list[list[Question]]:
    """Questions about each image, window by window of the list."""
    return [group for window in batches(list(questions), WINDOW) for group in _by_image(window)]


def _by_image(questions: Sequence[Question]) -> list[list[Question]]:
    """Questions about each image, in order of appearance."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(question.image, []).append(question)
    return list(found.values())


def _answers_in_batches(
    model: Any,
    questions: Sequence[Question],
    images: ImageFolder,
    template: str,
    lines: ResumableLines,
    decoding: Decoding,
) -> Iterator[list[Answer]]:
    """Answers of each batch that lacks some."""
    cut = batches(list(questions), decoding.batch_size or BATCH)
    todo = [batch for batch in cut if any(q.key not in lines.done for q in batch)]
    todo = lines.share(todo, [q.key for q in questions])
    for batch in bar(todo, "answers", len(todo)):
        yield _answer_batch(model, batch, images, template, decoding)


def _answer_batch(
    model: Generator, batch: Sequence[Question], images: ImageFolder, template: str, decoding: Decoding
) -> list[Answer]:
    """Answers of the questions whose image can be read."""
    opened = [(q, images.open(q.image)) for q in batch]
    readable = [(q, image) for q, image in opened if image is not None]
    if not readable:
        return []
    texts = [_text(model, q, template) for q, _ in readable]
    answers = model.generate(
        [image for _, image in readable],
        texts,
        num_beams=decoding.num_beams,
        max_new_tokens=decoding.max_new_tokens,
        length_penalty=decoding.length_penalty,
    )
    return [_answer(q, text) for (q, _), text in zip(readable, answers, strict=True)]


def _text(model: Generator, question: Question, template: str) -> str:
    return model.format_prompt(template.replace("{question}", question.text))


def _answer(question: Question, text: str) -> Answer:
    return Answer(question.key, text.strip(), question.text, question.label, question.image)
