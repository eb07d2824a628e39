"""POPE's question files, and new POPE questions from any COCO annotations."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from common.files.coco import CocoAnnotations
from common.files.record_files import dump_line
from common.files.storage import write_text
from common.paths import display
from evaluate.benchmarks.answer_files import AnswerRow, first_text, read_objects
from evaluate.benchmarks.questions import Joined, Question
from evaluate.metrics.yes_no import YesNo

SPLITS = ("random", "popular", "adversarial")
WORDING = "Is there {article} {name} in the image?"


def label_of(text: str | None, where: str) -> YesNo:
    """A label as yes or no. Raises DataError for anything else."""
    plain = (text or "").strip().lower()
    if plain == "yes":
        return "yes"
    if plain == "no":
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
        files = sorted(p for p in path.glob("*.json*") if set(SPLITS) & set(p.stem.split("_")))
    if not files:
        raise DataError(f"no files *_random.json, *_popular.json ... in {display(path)} (from --question_path)")
    found = []
    for file in files:
        for number, (where, value) in enumerate(read_objects(file), start=1):
            text = first_text(value, ("text", "question"))
            if text is None:
                raise DataError(f"{where}: no question; expected a field text or question")
            label = label_of(first_text(value, ("label", "answer")), where)
            key = first_text(value, ("question_id", "id")) or str(number)
            split = _split_of(file, first_text(value, ("category",)))
            found.append(Question(key, text, label, first_text(value, ("image",)) or "", split))
    shared = len({q.key for q in found}) < len(found) and len({q.group for q in found}) > 1
    return [Question(f"{q.group}/{q.key}", q.text, q.label, q.image, q.group) if shared else q for q in found]


def self_contained(rows: Sequence[AnswerRow]) -> Joined:
    """Answers that carry their own question and label. Raises DataError where one lacks its label."""
    pairs = []
    for number, row in enumerate(rows, start=1):
        if not row.label:
            raise DataError(f"{row.where}: the answer has no label; give the questions with --question_path")
        label = label_of(row.label, row.where)
        pairs.append((Question(str(number), row.question, label, row.image, row.group or "all"), row.answer))
    return Joined(tuple(pairs))


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


def write_questions(folder: Path | str, questions: Sequence[Question]) -> None:
    """One `pope_{split}.json` a split in POPE's layout, one object a line."""
    for split in SPLITS:
        rows = [q for q in questions if q.group == split]
        lines = [
            dump_line({"question_id": n, "image": q.image, "text": q.text, "label": q.label})
            for n, q in enumerate(rows, start=1)
        ]
        write_text(Path(folder) / f"pope_{split}.json", "\n".join(lines) + "\n")
