"""Instruction data ("gold"): questions and answers; the answer and its end are learnt.

In LLaVA's JSON layout, or as JSON Lines of image, question and answer (`insight/answer.py` writes them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from common.errors import DataError
from common.files.images import ImageFolder
from common.files.json_text import as_record, shown
from common.files.storage import read_json, read_json_lines, require_file
from common.paths import display
from finetune.corpus.records import GOLD, GOLD_SCORE, CaptionItem, Encoder, Span

IMAGE_MARK = "<image>"
ASKING, ANSWERING = ("human", "user"), ("gpt", "assistant")
SILENT = ("system",)
SPEAKERS = (*ASKING, *ANSWERING, *SILENT)


@dataclass(frozen=True)
class GoldSample:
    """A question on an image and its answer. `image` is an absolute path."""

    image: str
    question: str
    answer: str


class _Line(msgspec.Struct, frozen=True):
    image: str
    question: str
    answer: str


class _Turn(msgspec.Struct, frozen=True, rename={"speaker": "from", "text": "value"}):
    speaker: str
    text: str


class _Record(msgspec.Struct, frozen=True):
    conversations: list[_Turn]
    image: str | list[str] | None = None


def read_gold(path: str, folder: Path, size: int, flag: str = "--gold_image_dir_path") -> tuple[list[GoldSample], int]:
    """The first `size` records with an image and an answer, and how many of the others were passed over on the way.

    The question is the first human turn with the image mark (the first human turn where none has it), the answer the
    gpt turn behind it; a system turn is neither. `folder`, from the flag `flag`, holds the images.

    Raises DataError for a malformed record, an image that is not in the folder, or no record with an image.
    """
    file = require_file(path, "--gold_data_path")
    samples: list[GoldSample] = []
    images, passed, number = ImageFolder(folder, flag), 0, 0
    for number, (where, record) in enumerate(_records(file), start=1):  # noqa: B007 (told below)
        if len(samples) >= size:
            break
        if isinstance(record, Mapping) and (record.get("image") in (None, "", []) or record.get("answer") == ""):
            passed += 1
            continue
        samples.append(_sample(record, images, where))
    if not samples:
        raise DataError(f"{display(file)} (from --gold_data_path): none of {number} records has an image")
    return samples, passed


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, record) of a JSON list or of JSON Lines. Raises DataError."""
    if file.suffix == ".jsonl":
        for number, value in read_json_lines(file):
            yield f"{display(file)}:{number}", value
        return
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{display(file)} (from --gold_data_path): expected a JSON list of records")
    for number, record in enumerate(records, start=1):
        yield f"{display(file)}: entry {number}", record


def _sample(value: Any, images: ImageFolder, where: str) -> GoldSample:
    if isinstance(value, Mapping) and "question" in value:
        line = as_record(value, _Line, where)
        image: str | list[str] | None = line.image
        question, answer = line.question, line.answer
    else:
        record = as_record(value, _Record, where)
        image = record.image
        question, answer = _question_and_answer(record.conversations, where)
    if question.count(IMAGE_MARK) > 1:
        raise DataError(f"{where}: the question holds {IMAGE_MARK} {question.count(IMAGE_MARK)} times, for one image")
    question = question.replace(IMAGE_MARK, "").strip()
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            raise DataError(f"{where}: the {name} is empty")
    return GoldSample(str(_image_path(image, images, where)), question, answer)


def _question_and_answer(turns: list[_Turn], where: str) -> tuple[str, str]:
    """The turns that are learnt, found by their speakers."""
    spoken = [turn for turn in turns if turn.speaker not in SILENT]
    strangers = [turn.speaker for turn in spoken if turn.speaker not in (*ASKING, *ANSWERING)]
    if strangers:
        raise DataError(f"{where}: a turn is from {shown(strangers[0])}; known are {', '.join(SPEAKERS)}")
    asked = [place for place, turn in enumerate(spoken) if turn.speaker in ASKING]
    with_image = [place for place in asked if IMAGE_MARK in spoken[place].text]
    if not asked:
        raise DataError(f"{where}: needs conversations with a question (from human) and an answer (from gpt)")
    place = (with_image or asked)[0]
    if place + 1 == len(spoken) or spoken[place + 1].speaker not in ANSWERING:
        raise DataError(f"{where}: no answer (from gpt) follows the question about the image")
    return spoken[place].text, spoken[place + 1].text


def _image_path(image: str | list[str] | None, images: ImageFolder, where: str) -> Path:
    """The file of the one image."""
    names = [image] if isinstance(image, str) else image or []
    if len(names) != 1:
        raise DataError(f"{where}: {len(names)} images in one record; one is learnt from")
    try:
        images.require(names)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return images.file(names[0]).resolve()


def encode_gold(samples: list[GoldSample], encoder: Encoder) -> list[CaptionItem]:
    """Items with one span each: the whole answer and one end symbol."""
    items = []
    for number, sample in enumerate(samples):
        ids = (*encoder.encode_caption(sample.answer).ids, encoder.eos_id)
        prompt = encoder.encode_prompt(encoder.format_prompt(sample.question))
        span = Span(GOLD, 0, len(ids), GOLD_SCORE)
        items.append(CaptionItem(f"gold/{number}", sample.image, prompt, ids, (span,)))
    return items
