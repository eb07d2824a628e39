"""MME's folders: one text file a subtask, lines `image TAB question TAB label` and, in results, `TAB answer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import DataError
from common.files.images import SUFFIXES
from common.files.storage import read_text, require_dir
from common.paths import display
from evaluate.answers.joining import join
from evaluate.answers.own import self_contained as own_questions
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.answers.wording import image_folder, image_name
from evaluate.metrics.mme import SUBTASKS


def read_folder(folder: Path | str, flag: str) -> list[tuple[Question, str | None]]:
    """Questions of every subtask file present, with their answers where the files hold them.

    A tab inside an answer stays part of it. Raises DataError: no subtask file, a line with too few columns, a label
    that is not yes or no.
    """
    folder = require_dir(folder, flag)
    found = []
    for subtask in SUBTASKS:
        path = folder / f"{subtask}.txt"
        if path.is_file():
            found += _read_file(path, subtask)
    if not found:
        raise DataError(f"{display(folder)} (from {flag}) holds none of MME's files: {', '.join(SUBTASKS)} (.txt)")
    return found


def read_questions(folder: Path | str, flag: str) -> list[Question]:
    """Questions of the folder, in the layout of results (a file a subtask) or as MME is released (a folder a subtask).

    A released question's image is named below `folder`. Raises DataError as `read_folder`, and for a question file
    without an image.
    """
    folder = require_dir(folder, flag)
    if any((folder / f"{subtask}.txt").is_file() for subtask in SUBTASKS):
        return [question for question, _ in read_folder(folder, flag)]
    found = [q for subtask in SUBTASKS if (folder / subtask).is_dir() for q in _released(folder, subtask)]
    if not found:
        raise DataError(f"{display(folder)} (from {flag}) holds none of MME's subtasks: {', '.join(SUBTASKS)}")
    return found


def _released(folder: Path, subtask: str) -> list[Question]:
    """One released subtask: two lines `question TAB answer` an image, beside it or in a folder of their own."""
    apart = (folder / subtask / "images").is_dir()
    images = folder / subtask / "images" if apart else folder / subtask
    texts = folder / subtask / "questions_answers_YN" if apart else images
    by_stem = {p.stem: p for p in sorted(images.iterdir()) if p.suffix.lower() in SUFFIXES and p.name[0] != "."}
    found: list[Question] = []
    for path in sorted(p for p in texts.glob("*.txt") if p.name[0] != "."):
        if path.stem not in by_stem:
            raise DataError(f"{display(path)}: there is no image {path.stem} in {display(images)}; unpack MME again")
        image = by_stem[path.stem].relative_to(folder).as_posix()
        for number, line in enumerate(filter(str.strip, read_text(path).split("\n")), start=1):
            text, _, label = line.strip().rpartition("\t")
            if label.lower() not in ("yes", "no"):
                raise DataError(f"{display(path)}:{number}: expected a question, a tab, and Yes or No")
            key = f"{subtask}/{len(found)}"
            found.append(Question(key, text.strip(), label.lower(), image, subtask, numbered=True))
    return found


def _read_file(path: Path, subtask: str) -> list[tuple[Question, str | None]]:
    rows: list[tuple[Question, str | None]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = line.split("\t", 3)
        if len(columns) < 3 or columns[2].strip().lower() not in ("yes", "no"):
            raise DataError(f"{display(path)}:{number}: expected image, question, Yes or No, and an answer in results")
        image, text, label = columns[0], columns[1], columns[2].strip().lower()
        question = Question(f"{subtask}/{len(rows)}", text, label, image, subtask, numbered=True)
        rows.append((question, columns[3] if len(columns) == 4 and columns[3].strip() else None))
    return rows


def answers_alone(rows: Sequence[tuple[Question, str | None]], where: str) -> Joined:
    """A results folder by itself. Raises DataError if it holds no answer at all."""
    if all(answer is None for _, answer in rows):
        raise DataError(f"{where} holds questions without answers; give the folder of results with --answers_path")
    return Joined(tuple(rows), tuple(q.key for q, answer in rows if answer is None))


def with_questions(
    questions: Sequence[tuple[Question, str | None]],
    rows: Sequence[tuple[Question, str | None]],
    where: str = "the results",
) -> Joined:
    """Answers of a results folder for all questions of a question folder, found by subtask, image and wording.

    Endings of image names do not matter: published results have `.txt` where the questions have `.jpg`.
    Raises DataError for a label that is not the question's, or if no answer fits.
    """
    given = [
        AnswerRow(answer, (), q.text, q.label, q.image, (q.group,), where=f"{where}: {q.key}") for q, answer in rows
    ]
    return join([q for q, _ in questions], given, "id", where)


def self_contained(rows: Sequence[AnswerRow]) -> Joined:
    """Rows of VLMEvalKit's and lmms-eval's logs, which carry question, label, image and subtask. Raises DataError."""
    joined = own_questions([_with_subtask(row) for row in rows], _label, SUBTASKS, "")
    for question, _ in joined.pairs:
        if not question.group or not question.image:
            raise DataError(
                f"answer {question.key} names no image or none of MME's subtasks; give the questions with "
                "--question_path"
            )
    return joined


def _with_subtask(row: AnswerRow) -> AnswerRow:
    """The row with image and subtask from its id, where that is `subtask/image` as in LLaVA's and lmms-eval's files."""
    named = [key for key in row.keys if image_folder(key)]
    image = row.image or (named[0] if named else "")
    return replace(row, image=image_name(image), groups=(*row.groups, *map(image_folder, (image, *named))))


def _label(row: AnswerRow) -> str:
    label = row.label.strip().lower()
    if label not in ("yes", "no"):
        raise DataError(f"{row.where}: the right answer is '{row.label}', expected yes or no")
    return label
