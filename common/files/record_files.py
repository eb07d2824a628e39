"""Reading and writing the record files: captions, objects, `pos_neg.json`, `sentences.json`, answers.

Each reader checks every field and raises DataError with file and line (JSON Lines) or entry number (JSON lists).
The published text forms are read too: `name ### caption` and `name ### rank ### a, b, c`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from common.errors import DataError
from common.files.records import Answer, Caption, CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.files.storage import read_json, read_json_lines, read_text, write_json
from common.paths import display

COLUMN_SPLITTER = " ### "
Sample = TypeVar("Sample", SpanSample, SentenceSample)


def image_id_of(name: str) -> int:
    """The COCO id in an image name: its last run of digits. Raises DataError if there is none."""
    digits = re.findall(r"\d+", Path(name).stem)
    if not digits:
        raise DataError(f"image name '{name}' holds no number to use as image id; add an image_id field")
    return int(digits[-1])


def _field(value: Mapping[str, Any], names: Sequence[str], kind: type, where: str) -> Any:
    """The first of `names` that is present, checked for its type."""
    for name in names:
        if name in value:
            found = value[name]
            if kind is float and isinstance(found, int) and not isinstance(found, bool):
                found = float(found)
            if not isinstance(found, kind) or isinstance(found, bool):
                raise DataError(f"{where}: {name} is {found!r}, expected {kind.__name__}")
            return found
    raise DataError(f"{where}: no field {' or '.join(names)}; found {', '.join(map(str, value)) or 'none'}")


def _image_and_id(value: Mapping[str, Any], where: str) -> tuple[str, int]:
    """Image name and number from any of the known layouts (`image_id` may be a number or a file name)."""
    raw = value.get("image_id", value.get("image"))
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise DataError(f"{where}: no usable image_id or image field; found {', '.join(map(str, value))}")
    number = raw if isinstance(raw, int) else int(raw) if raw.isdigit() else image_id_of(raw)
    image = value.get("image", raw if isinstance(raw, str) else str(raw))
    return str(image), number


def caption_from_json(value: Mapping[str, Any], where: str) -> Caption:
    """A caption record from one JSON object; text in `caption` or `text`. Raises DataError."""
    image, image_id = _image_and_id(value, where)
    text = _field(value, ("caption", "text"), str, where)
    return Caption(image, image_id, text, int(value.get("sample", 0)))


def caption_to_json(record: Caption) -> dict[str, Any]:
    """The line of a captions file; `sample` only where an image has several."""
    out: dict[str, Any] = {"image": record.image, "image_id": record.image_id, "caption": record.caption}
    if record.sample:
        out["sample"] = record.sample
    return out


def caption_key(value: Mapping[str, Any]) -> str:
    """Resume key of a captions or objects line."""
    return f"{value.get('image_id')}/{value.get('sample', 0)}"


def _read_text_captions(path: Path, text: str) -> list[Caption]:
    captions = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, split, caption = line.partition(COLUMN_SPLITTER)
        if not split:
            raise DataError(f"{display(path)}:{number}: expected 'image ### caption'")
        captions.append(Caption(name, image_id_of(name), caption))
    return captions


def _looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def read_captions(path: Path | str, allow_empty: bool = False) -> list[Caption]:
    """Captions from JSON Lines, a JSON list or the published text form, told apart by content.

    Raises DataError: malformed line, empty caption (unless `allow_empty`), two captions with one key, empty file.
    """
    path = Path(path)
    text = read_text(path)
    if text.lstrip()[:1] == "[":
        entries = [(i, e) for i, e in enumerate(_json_list(path), start=1)]
        captions = [caption_from_json(e, f"{display(path)}: entry {i}") for i, e in entries]
    elif _looks_like_json(text):
        captions = [caption_from_json(v, f"{display(path)}:{n}") for n, v in read_json_lines(path)]
    else:
        captions = _read_text_captions(path, text)
    _check_captions(captions, path, allow_empty)
    return captions


def _check_captions(captions: Sequence[Caption], path: Path, allow_empty: bool) -> None:
    if not captions:
        raise DataError(f"{display(path)} holds no captions")
    seen: set[str] = set()
    for caption in captions:
        if not caption.caption.strip() and not allow_empty:
            raise DataError(f"{display(path)}: the caption of image {caption.image} is empty; remove it")
        if caption.key in seen:
            raise DataError(
                f"{display(path)}: two captions of image {caption.image} (sample {caption.sample}); "
                "remove one or number them with a 'sample' field"
            )
        seen.add(caption.key)


def objects_to_json(record: CaptionObjects) -> dict[str, Any]:
    """The line of an objects file."""
    out: dict[str, Any] = {"image": record.image, "image_id": record.image_id, "caption": record.caption}
    if record.sample:
        out["sample"] = record.sample
    out["objects"] = [asdict(o) for o in record.objects]
    return out


def _mention(value: Mapping[str, Any], caption: str, where: str) -> ObjectMention:
    text = _field(value, ("text",), str, where)
    start, end = _field(value, ("start",), int, where), _field(value, ("end",), int, where)
    if caption[start:end] != text or start < 0:
        raise DataError(f"{where}: object '{text}' is not at {start}:{end} of the caption; extract the objects again")
    score = value.get("score")
    if score is not None:
        score = _field(value, ("score",), float, where)
        if not math.isfinite(score):
            raise DataError(f"{where}: the score of '{text}' is {score}; score the objects again")
    return ObjectMention(text, start, end, score)


def objects_from_json(value: Mapping[str, Any], where: str) -> CaptionObjects:
    """An objects record from one JSON object, offsets and scores checked. Raises DataError."""
    base = caption_from_json(value, where)
    entries = _field(value, ("objects",), list, where)
    mentions = tuple(_mention(entry, base.caption, where) for entry in entries)
    return CaptionObjects(base.image, base.image_id, base.caption, mentions, base.sample)


def read_objects(path: Path | str, captions: Sequence[Caption] | None = None) -> list[CaptionObjects]:
    """Objects from JSON Lines, or from the published text form together with its captions. Raises DataError."""
    path = Path(path)
    text = read_text(path)
    if text.strip() and not _looks_like_json(text):
        return _read_text_objects(path, text, captions)
    records = [objects_from_json(v, f"{display(path)}:{n}") for n, v in read_json_lines(path)]
    if not records:
        raise DataError(f"{display(path)} holds no objects")
    return records


def _read_text_objects(path: Path, text: str, captions: Sequence[Caption] | None) -> list[CaptionObjects]:
    """`name ### rank ### a, b, c`: offsets are found in the caption as whole words, in order, duplicates once."""
    if captions is None:
        raise DataError(
            f"{display(path)} is in the published text form; its captions are needed too (--caption_data_path)"
        )
    by_name = {c.image: c for c in captions}
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
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


def _json_list(path: Path | str) -> list[Any]:
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{display(path)}: expected a JSON list, found {type(value).__name__}")
    return value


def read_span_samples(path: Path | str) -> list[SpanSample]:
    """`pos_neg.json` in the published layout. Raises DataError naming the entry."""
    samples = []
    for number, value in enumerate(_json_list(path), start=1):
        where = f"{display(path)}: entry {number}"
        image, sentence = _field(value, ("image",), str, where), _field(value, ("sentence",), str, where)
        position, score = _field(value, ("position",), int, where), _field(value, ("score",), float, where)
        if not 0 <= position < len(sentence):
            raise DataError(f"{where}: position {position} is outside the sentence of {len(sentence)} characters")
        _finite(score, "score", where)
        samples.append(SpanSample(image, sentence, position, score))
    return samples


def read_sentence_samples(path: Path | str) -> list[SentenceSample]:
    """`sentences.json` in the published layout. Raises DataError naming the entry."""
    samples = []
    for number, value in enumerate(_json_list(path), start=1):
        where = f"{display(path)}: entry {number}"
        image, sentence = _field(value, ("image",), str, where), _field(value, ("sentence",), str, where)
        mean, least = _field(value, ("mean",), float, where), _field(value, ("min",), float, where)
        _finite(mean, "mean", where)
        _finite(least, "min", where)
        samples.append(SentenceSample(image, sentence, mean, least))
    return samples


def _finite(value: float, name: str, where: str) -> None:
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {value}; score the objects again")


def write_samples(path: Path | str, samples: Sequence[Sample]) -> None:
    """Write `pos_neg.json` or `sentences.json` atomically, fields in the published order."""
    write_json(path, [asdict(sample) for sample in samples])


def answer_to_json(record: Answer) -> dict[str, Any]:
    """The line of an answers file; empty fields are left out."""
    return {k: v for k, v in asdict(record).items() if v != "" or k in ("question_id", "answer")}


def dump_line(value: Mapping[str, Any]) -> str:
    """One JSON line as every writer of this project spells it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
