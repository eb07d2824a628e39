"""POPE's question files, and new POPE questions from any COCO annotations."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import DataError, plain
from common.files.coco import CocoAnnotations
from common.files.record_files import dump_line
from common.files.storage import read_text, write_text
from common.paths import display
from common.progress import announce
from evaluate.answers import values
from evaluate.answers.joining import SPLITS
from evaluate.answers.own import self_contained as own_questions
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.answers.tables import Row, read_rows
from evaluate.answers.values import shown
from evaluate.answers.wording import normal
from evaluate.metrics.yes_no import YesNo

WORDING = "Is there {article} {name} in the image?"


def label_of(text: str | None, where: str) -> YesNo:
    """A label as yes or no. Raises DataError for anything else."""
    word = (text or "").strip().lower()
    if word == "yes":
        return "yes"
    if word == "no":
        return "no"
    raise DataError(f"{where}: label is {text!r}, expected yes or no")


def _split_of(path: Path, category: str | None) -> str:
    named = [split for split in SPLITS if split in path.stem.split("_")]
    return category or (named[0] if named else "all")


def read_questions(path: Path | str) -> list[Question]:
    """Questions of one file, or of the files of a folder that are named after a split. Raises DataError.

    Ids that several splits share are told apart by the split: "popular/17".
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = [p for p in sorted(path.glob("*.json*")) if set(SPLITS) & set(p.stem.split("_"))]
        files = [p for p in files if not p.name.startswith(".")]  # "._name" is macOS's, of no content
    if not files:
        raise DataError(f"no files *_random.json, *_popular.json ... in {display(path)} (from --question_path)")
    found = [
        _question(row, where, file, number)
        for file in files
        for number, (where, row) in enumerate(read_rows(file), start=1)
    ]
    _say_two_truths(found, display(path))
    shared = len({q.key for q in found}) < len(found) and len({q.group for q in found}) > 1
    return [replace(q, key=f"{q.group}/{q.key}") if shared else q for q in found]


def _say_two_truths(questions: Sequence[Question], where: str) -> None:
    """Say which questions have both answers, in one split or in two: no model can be right there."""
    labels: dict[tuple[str, str], str] = {}
    both = [q for q in questions if q.image and labels.setdefault((q.image, normal(q.text)), q.label) != q.label]
    if both:
        announce(
            f"{where}: {len(both)} questions are to be answered yes and no, first {shown(both[0].text)} on "
            f"{plain(both[0].image, 80)}: no model can be right there"
        )


def _question(row: Row, where: str, file: Path, number: int) -> Question:
    """One question of a POPE file: `text` or `question`, `label` or, without one, `answer`."""
    text = values.one_of(row, ("text", "question"), where, values.plain_text)
    if not text:
        raise DataError(f"{where}: no question; expected a field text or question")
    label = values.one_of(row, ("label",) if "label" in row else ("answer",), where, values.yes_no_text)
    key = values.one_of(row, ("question_id", "id"), where, values.id_text)
    split = _split_of(file, values.one_of(row, ("category",), where, values.plain_text))
    image = values.one_of(row, ("image",), where, values.image_text)
    return Question(key or str(number), text, label_of(label, where), image, split, numbered=not key)


def self_contained(rows: Sequence[AnswerRow]) -> Joined:
    """Answers that carry their own question and label, once for each split. Raises DataError where one has no label."""
    splits = SPLITS if any(group.casefold() in SPLITS for row in rows for group in row.groups) else ()
    joined = own_questions(rows, lambda row: label_of(row.label, row.where), splits)
    _say_two_truths([question for question, _ in joined.pairs], "the answers")
    return joined


def wording(name: str) -> str:
    """The question about one object."""
    return WORDING.format(article="an" if name[:1].lower() in "aeiou" else "a", name=name)


def build_questions(annotations: CocoAnnotations, images: int, seed: int, per_image: int = 3) -> list[Question]:
    """The three splits from instance annotations: `per_image` present and as many absent objects an image.

    Absent objects are drawn evenly (random), by how many images hold them (popular), or by how often they stand
    beside the object just asked about (adversarial). Images need `per_image` kinds of object; seeded.
    Raises DataError if no image has enough, or too few kinds are absent.
    """
    present = {i: sorted(set(annotations.instances[i])) for i in sorted(annotations.instances)}
    usable = [i for i, names in present.items() if len(names) >= per_image]
    if not usable:
        raise DataError(f"no annotated image holds {per_image} kinds of object; POPE questions cannot be built")
    chooser = random.Random(seed)
    chosen = sorted(chooser.sample(usable, min(images, len(usable))))
    frequency = Counter(name for names in present.values() for name in names)
    together = _together(present.values())
    out: list[Question] = []
    for split in SPLITS:
        rows = []
        for image_id in chosen:
            asked = random.Random(f"{seed}/{image_id}").sample(present[image_id], per_image)
            absent = [name for name in sorted(frequency) if name not in present[image_id]]
            if len(absent) < per_image:
                raise DataError(f"image {image_id} holds all but {len(absent)} kinds of object; nothing to ask about")
            image = annotations.file_names.get(image_id, str(image_id))
            for name in asked:
                other = _absent(split, name, absent, frequency, together, chooser)
                absent.remove(other)
                rows += [(wording(name), "yes", image), (wording(other), "no", image)]
        out += [Question(f"{split}/{n}", *row, split) for n, row in enumerate(rows, start=1)]
    return out


def _together(images: Iterable[Sequence[str]]) -> Mapping[str, Counter[str]]:
    pairs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for names in images:
        for name in names:
            pairs[name].update(other for other in names if other != name)
    return pairs


def _absent(
    split: str,
    name: str,
    absent: Sequence[str],
    frequency: Mapping[str, int],
    together: Mapping[str, Counter[str]],
    chooser: random.Random,
) -> str:
    """The absent object to ask about after `name`; ties go to the more frequent, then by name."""
    if split == "random":
        return chooser.choice(list(absent))
    beside = together[name] if split == "adversarial" else {}
    return min(absent, key=lambda other: (-beside.get(other, 0), -frequency[other], other))


def question_files(folder: Path | str, questions: Sequence[Question]) -> dict[Path, str]:
    """One `pope_{split}.json` a split in POPE's layout, one object a line. Raises DataError for other files there."""
    texts: dict[Path, str] = {}
    for split in SPLITS:
        rows = [q for q in questions if q.group == split]
        lines = [
            dump_line({"question_id": n, "image": q.image, "text": q.text, "label": q.label})
            for n, q in enumerate(rows, start=1)
        ]
        texts[Path(folder) / f"pope_{split}.json"] = "\n".join(lines) + "\n"
    for path, text in texts.items():
        if path.exists() and read_text(path) != text:
            raise DataError(f"{display(path)} (--questions_save_path) holds other questions; choose another folder")
    return texts


def write_questions(folder: Path | str, questions: Sequence[Question]) -> None:
    """Write those files, over the same questions at most. Raises DataError."""
    for path, text in question_files(folder, questions).items():
        write_text(path, text)
