"""Instruction data ("gold"): the first turn of records in LLaVA's JSON layout, answer and end symbol learnt whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, require_file
from common.paths import display
from finetune.corpus.records import GOLD, GOLD_SCORE, CaptionItem, Encoder, Span

IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class GoldSample:
    """A question on an image and its answer. `image` is an absolute path."""

    image: str
    question: str
    answer: str


def read_gold(path: str, folder: Path, size: int) -> tuple[list[GoldSample], int]:
    """The first `size` records that have an image, and the number of text-only ones passed over on the way.

    Raises DataError for a malformed record, or none with an image.
    """
    file = require_file(path, "--gold_data_path")
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{display(file)} (from --gold_data_path): expected a JSON list of records")
    samples: list[GoldSample] = []
    text_only = 0
    for number, record in enumerate(records, start=1):
        if len(samples) >= size:
            break
        where = f"{display(file)}: entry {number}"
        if not isinstance(record, Mapping):
            raise DataError(f"{where}: expected an object")
        if record.get("image") is None:
            text_only += 1
            continue
        samples.append(_sample(record, folder, where))
    if not samples:
        raise DataError(f"{display(file)} (from --gold_data_path): none of {len(records)} records has an image")
    return samples, text_only


def _sample(record: Mapping[str, Any], folder: Path, where: str) -> GoldSample:
    try:
        question, answer = (str(turn["value"]) for turn in record["conversations"][:2])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: needs conversations with a question and an answer") from None
    if not answer.strip():
        raise DataError(f"{where}: the answer is empty")
    image = (folder / str(record["image"])).resolve()
    return GoldSample(str(image), question.replace(IMAGE_MARK, "").strip(), answer)


def encode_gold(samples: list[GoldSample], encoder: Encoder) -> list[CaptionItem]:
    """Items with one span each: the whole answer and one end symbol."""
    items = []
    for number, sample in enumerate(samples):
        ids = (*encoder.encode_caption(sample.answer).ids, encoder.eos_id)
        prompt = encoder.encode_prompt(encoder.format_prompt(sample.question))
        span = Span(GOLD, 0, len(ids), GOLD_SCORE)
        items.append(CaptionItem(f"gold/{number}", sample.image, prompt, ids, (span,)))
    return items
