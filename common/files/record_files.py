"""Reading and writing the record files: captions, objects, `pos_neg.json`, `sentences.json`, answers.

Each reader checks every field and raises DataError with file and line (JSON Lines) or entry number (JSON lists).
The published text forms are read too: `name ### caption` and `name ### rank ### a, b, c`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from common.errors import DataError
from common.files.image_ids import image_id_of, image_ids_of, may_be_one
from common.files.json_text import WholeNumber, as_record, shown
from common.files.records import Answer, Caption, CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.files.storage import read_json_lines, read_record, read_text, write_json
from common.paths import display

COLUMN_SPLITTER = " ### "
Sample = TypeVar("Sample", SpanSample, SentenceSample)


class _CaptionRow(msgspec.Struct, frozen=True):
    """A caption in any of the known layouts; `image_id` may be a number or a file name."""

    image_id: WholeNumber | str | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType = msgspec.UNSET
    caption: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    sample: WholeNumber = 0


def _image_and_id(row: _CaptionRow, where: str) -> tuple[str, int]:
    """Image name and number. Raises DataError if the row has neither field."""
    raw = row.image if isinstance(row.image_id, msgspec.UnsetType) else row.image_id
    if isinstance(raw, msgspec.UnsetType) or raw == "":
        raise DataError(f"{where}: no field image_id or image")
    name = str(raw) if isinstance(row.image, msgspec.UnsetType) else row.image
    return name, raw if isinstance(raw, int) else image_id_of(raw)


def _caption_text(row: _CaptionRow, where: str) -> str:
    """The one text. Raises DataError if the row has none, or two that differ."""
    texts = {text for text in (row.caption, row.text) if not isinstance(text, msgspec.UnsetType)}
    if len(texts) != 1:
        why = "caption and text differ; leave the one that is the caption" if texts else "no field caption or text"
        raise DataError(f"{where}: {why}")
    return texts.pop()


def caption_from_json(value: Any, where: str) -> Caption:
    """A caption record from one JSON object; text in `caption` or `text`. Raises DataError."""
    row = as_record(value, _CaptionRow, where)
    text = _caption_text(row, where)
    try:
        image, image_id = _image_and_id(row, where)
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    return Caption(image, image_id, text, row.sample)


def caption_to_json(record: Caption) -> dict[str, Any]:
    """The line of a captions file; `sample` only where an image has several."""
    out: dict[str, Any] = {"image": record.image, "image_id": record.image_id, "caption": record.caption}
    if record.sample:
        out["sample"] = record.sample
    return out


def caption_key(value: Mapping[str, Any]) -> str:
    """Resume key of a captions or objects line."""
    return f"{value.get('image_id')}/{value.get('sample', 0)}"


def _text_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _read_text_captions(path: Path, text: str) -> list[Caption]:
    captions = []
    for number, line in _text_lines(text):
        name, split, caption = line.partition(COLUMN_SPLITTER)
        if not split:
            raise DataError(f"{display(path)}:{number}: expected 'image ### caption'")
        captions.append((name, caption))
    ids = image_ids_of(name for name, _ in captions)
    return [Caption(name, ids[name], caption) for name, caption in captions]


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _entries(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Place and value of each entry of a JSON list, or of JSON Lines, told apart by content."""
    name = display(path)
    if text.lstrip()[:1] == "[":
        return ((f"{name}: entry {n}", v) for n, v in enumerate(read_record(path, list[Any]), start=1))
    return ((f"{name}:{number}", value) for number, value in read_json_lines(path))


def read_captions(path: Path | str, allow_empty: bool = False) -> list[Caption]:
    """Captions from JSON Lines, a JSON list or the published text form, told apart by content.

    Raises DataError: malformed line, empty caption (unless `allow_empty`), two captions with one key, empty file.
    """
    path = Path(path)
    text = read_text(path)
    if _is_json(text):
        captions = [caption_from_json(value, where) for where, value in _entries(path, text)]
    else:
        captions = _read_text_captions(path, text)
    if not captions:
        raise DataError(f"{display(path)} holds no captions")
    for caption in captions:
        if not caption.caption.strip() and not allow_empty:
            raise DataError(f"{display(path)}: the caption of image {caption.image} is empty; remove it")
    _check_keys(captions, path)
    return captions


def _check_keys(records: Sequence[Caption | CaptionObjects], path: Path) -> None:
    """Raise DataError for two records of one image and sample, or where two images have one id."""
    seen: set[str] = set()
    names: dict[int, str] = {}
    for record in records:
        image, number = record.image, record.image_id
        name = names.setdefault(number, image)
        if name != image and str(number) not in (name, image) and not may_be_one(name, image):
            raise DataError(f"{display(path)}: images {name} and {image} have the same id {number}; rename one")
        if record.key in seen:
            raise DataError(
                f"{display(path)}: two captions of image {image} (sample {record.sample}); "
                "remove one or number them with a 'sample' field"
            )
        seen.add(record.key)


def objects_to_json(record: CaptionObjects) -> dict[str, Any]:
    """The line of an objects file."""
    out: dict[str, Any] = {"image": record.image, "image_id": record.image_id, "caption": record.caption}
    if record.sample:
        out["sample"] = record.sample
    out["objects"] = [asdict(o) for o in record.objects]
    return out


class _ObjectRow(msgspec.Struct, frozen=True):
    objects: list[ObjectMention]


def _check_mention(mention: ObjectMention, caption: str, where: str) -> None:
    text, start, end = mention.text, mention.start, mention.end
    if not text or not 0 <= start < end or end - start != len(text) or caption[start:end] != text:
        raise DataError(
            f"{where}: object {shown(text)} is not at {start}:{end} of the caption; extract the objects again"
        )


def _check_scores(mentions: Sequence[ObjectMention], where: str) -> None:
    """Raise DataError for an object that has two scores in one place: one may say learn it, the other unlearn it."""
    scores: dict[tuple[int, int], float | None] = {}
    for mention in mentions:
        place = (mention.start, mention.end)
        if scores.setdefault(place, mention.score) != mention.score:
            raise DataError(
                f"{where}: object {shown(mention.text)} at {mention.start}:{mention.end} has the scores "
                f"{scores[place]} and {mention.score}; score the objects again"
            )


def objects_from_json(value: Any, where: str) -> CaptionObjects:
    """An objects record from one JSON object, offsets and scores checked. Raises DataError."""
    base = caption_from_json(value, where)
    mentions = as_record(value, _ObjectRow, where).objects
    for mention in mentions:
        _check_mention(mention, base.caption, where)
    _check_scores(mentions, where)
    return CaptionObjects(base.image, base.image_id, base.caption, tuple(mentions), base.sample)


def read_objects(path: Path | str, captions: Sequence[Caption] | None = None) -> list[CaptionObjects]:
    """Objects from JSON Lines, or from the published text form together with its captions.

    Raises DataError: malformed line, two records with one key, empty file, text form without captions.
    """
    path = Path(path)
    text = read_text(path)
    if text.strip() and not _is_json(text):
        return _read_text_objects(path, text, captions)
    records = [objects_from_json(value, where) for where, value in _entries(path, text)]
    if not records:
        raise DataError(f"{display(path)} holds no objects")
    _check_keys(records, path)
    return records


def _read_text_objects(path: Path, text: str, captions: Sequence[Caption] | None) -> list[CaptionObjects]:
    """`name ### rank ### a, b, c`: offsets are found in the caption as whole words, in order, duplicates once."""
    if captions is None:
        raise DataError(
            f"{display(path)} is in the published text form; its captions are needed too (--caption_data_path)"
        )
    by_name = {c.image: c for c in captions}
    if len(by_name) < len(captions):
        raise DataError(f"{display(path)} is in the published text form, which knows one caption an image, not several")
    records = []
    for number, line in _text_lines(text):
        columns = line.split(COLUMN_SPLITTER)
        if len(columns) != 3 or columns[0] not in by_name:
            raise DataError(f"{display(path)}:{number}: expected 'image ### rank ### a, b, c' of a captioned image")
        caption = by_name[columns[0]]
        names = dict.fromkeys(part.strip() for part in columns[2].split(","))
        found = [locate_word(caption.caption, name) for name in names if name]
        mentions = sorted((m for m in found if m is not None), key=lambda m: m.start)
        records.append(CaptionObjects(caption.image, caption.image_id, caption.caption, tuple(mentions)))
    return records


def locate_word(caption: str, name: str) -> ObjectMention | None:
    """The first place where `name` stands in the caption as whole words, any case; None if nowhere."""
    match = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", caption, flags=re.IGNORECASE)
    return ObjectMention(caption[match.start() : match.end()], match.start(), match.end()) if match else None


def read_span_samples(path: Path | str) -> list[SpanSample]:
    """`pos_neg.json` in the published layout. Raises DataError naming the entry."""
    samples = read_record(path, list[SpanSample])
    for number, sample in enumerate(samples, start=1):
        if not 0 <= sample.position < len(sample.sentence):
            raise DataError(
                f"{display(path)}: entry {number}: position {sample.position} is outside the sentence of "
                f"{len(sample.sentence)} characters"
            )
    return samples


def read_sentence_samples(path: Path | str) -> list[SentenceSample]:
    """`sentences.json` in the published layout. Raises DataError naming the entry."""
    samples = read_record(path, list[SentenceSample])
    for number, sample in enumerate(samples, start=1):
        if not sample.sentence.strip():
            raise DataError(f"{display(path)}: entry {number}: the sentence is empty")
    return samples


def write_samples(path: Path | str, samples: Sequence[Sample]) -> None:
    """Write `pos_neg.json` or `sentences.json` atomically, fields in the published order."""
    write_json(path, [asdict(sample) for sample in samples])


def answer_to_json(record: Answer) -> dict[str, Any]:
    """The line of an answers file; empty fields are left out."""
    return {k: v for k, v in asdict(record).items() if v != "" or k in ("question_id", "answer")}


def dump_line(value: Mapping[str, Any]) -> str:
    """One JSON line as every writer of this project spells it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
