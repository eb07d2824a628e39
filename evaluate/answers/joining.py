"""Which question an answer belongs to: by what the row says of it (wording, image, split), checked against its id.

The wording and the image decide. An id alone decides only where the row has no wording. Where the two contradict each
other the file is refused, unless its ids are another numbering as a whole: then answers are joined by image and
wording, or, where rows name no image, by the one shift that makes all wordings agree (LLaVA numbers POPE's three files
through). What is done is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import DataError
from common.progress import announce
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.answers.shifts import shifted
from evaluate.answers.values import shown
from evaluate.answers.wording import contains, image_folder, image_name, label_key, normal, readings, same_image

SPLITS = ("random", "popular", "adversarial")


def join(questions: Sequence[Question], rows: Sequence[AnswerRow], pairing: str, where: str) -> Joined:
    """Questions with their answers.

    Args:
        pairing: `id` (wording, image and id, as above) or `line` (by position, checked against what the rows say).
        where: the answer file, for messages.

    Raises DataError: two questions with one id; rows that contradict their question, that could belong to several, or
    of which none belongs to any.
    """
    _require_unique(questions, where)
    if pairing == "line":
        return _by_line(questions, rows, where)
    lost = next((row for row in rows if not row.keys and not row.question), None)
    if lost is not None:
        raise DataError(f"{lost.where}: the answer has no id and no question; use --pairing line if lines match")
    index = Index.of(questions)
    found = [index.fitting(row) for row in rows]
    numbers = _settled(questions, rows, found, index, where)
    return _collected(questions, rows, numbers, where)


def _require_unique(questions: Sequence[Question], where: str) -> None:
    seen: set[str] = set()
    for question in questions:
        if question.key in seen:
            raise DataError(f"{where}: two questions with id {question.key}; ids must be unique")
        seen.add(question.key)


@dataclass(frozen=True)
class Fit:
    """The questions that a row may belong to.

    Attributes:
        numbers: positions of the questions.
        contradicted: position of the question that the row's id names although its wording or image is another's.
    """

    numbers: tuple[int, ...]
    contradicted: int | None = None


@dataclass(frozen=True)
class Index:
    """Questions found by id and by wording."""

    questions: Sequence[Question]
    by_key: Mapping[str, Sequence[int]]
    by_wording: Mapping[str, Sequence[int]]
    by_image: Mapping[str, set[int]]
    groups: frozenset[str]

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Index:
        """The index of a benchmark's questions."""
        by_key: defaultdict[str, list[int]] = defaultdict(list)
        by_wording: defaultdict[str, list[int]] = defaultdict(list)
        by_image: defaultdict[str, set[int]] = defaultdict(set)
        for number, question in enumerate(questions):
            if not question.numbered:
                for key in {question.key, native_key(question)}:
                    by_key[key].append(number)
            by_image[image_name(question.image)].add(number)
            for wording in {normal(question.text), normal(question.stem)} - {""}:
                by_wording[wording].append(number)
        return cls(questions, by_key, by_wording, dict(by_image), frozenset(q.group for q in questions if q.group))

    def fitting(self, row: AnswerRow) -> Fit:
        """The questions that a row may belong to, from everything that it says."""
        named = self._allowed(row, [n for key in row.keys for n in self.by_key.get(key, ())], pictured=False)
        if not normal(row.question):
            fitting = self._allowed(row, named)
            return Fit(tuple(fitting), named[0] if named and not fitting else None)
        agreeing = self._allowed(row, [n for n in named if asks(row, self.questions[n])])
        if agreeing:
            return Fit(tuple(agreeing))
        return Fit(tuple(self._allowed(row, self._asked(row))), named[0] if named else None)

    def _asked(self, row: AnswerRow) -> Sequence[int]:
        """Questions of the row's wording: of the whole, else of its lines, else of what stands within it."""
        whole, *lines = readings(row.question)
        hits = self.by_wording.get(whole) or [n for line in lines for n in self.by_wording.get(line, ())]
        if not hits:
            within = [wording for wording in self.by_wording if contains(whole, wording)]
            longest = [w for w in within if not any(w != other and contains(other, w) for other in within)]
            hits = [n for wording in longest for n in self.by_wording[wording]]
        return self._with_choices(row, hits)

    def _with_choices(self, row: AnswerRow, hits: Sequence[int]) -> Sequence[int]:
        """Of questions of one wording, those with the row's choices, where both have some."""
        own = [normal(choice) for choice in row.choices]
        if not own:
            return hits
        others = ((n, [normal(choice) for choice in self.questions[n].choices]) for n in hits)
        return [n for n, choices in others if not choices or own == choices]

    def _allowed(self, row: AnswerRow, numbers: Sequence[int], pictured: bool = True) -> list[int]:
        """Those questions, once each, that the row's split or subtask and its image allow."""
        found = list(dict.fromkeys(numbers))
        if found and pictured and row.image:
            same = self.by_image.get(image_name(row.image))
            if same is None:
                same = {n for n in found if same_image(row.image, self.questions[n].image)}
            found = [n for n in found if n in same or not self.questions[n].image]
        told = self._told(row) if found else frozenset()
        return [n for n in found if not told or not self.questions[n].group or self.questions[n].group in told]

    def _told(self, row: AnswerRow) -> frozenset[str]:
        """The splits or subtasks that a row names, also as folder of its image or id."""
        known = self.groups | set(SPLITS) if self.groups & set(SPLITS) else self.groups
        said = {group.casefold() for group in (*row.groups, *map(image_folder, (row.image, *row.keys)))}
        return frozenset(group for group in known if group.casefold() in said)


def native_key(question: Question) -> str:
    """The id that the question has in its own file, without the split before it."""
    return question.key.removeprefix(f"{question.group}/") if question.group else question.key


def asks(row: AnswerRow, question: Question) -> bool:
    """Whether the row's wording is the question's, with or without instructions, context and choices."""
    said = normal(row.question)
    if not said:
        return True
    wordings = [normal(text) for text in (question.text, question.stem) if text]
    if any(contains(said, wording) for wording in wordings):
        return True
    return not wordings or (bool(question.choices) and any(contains(wording, said) for wording in wordings))


def _settled(
    questions: Sequence[Question], rows: Sequence[AnswerRow], found: Sequence[Fit], index: Index, where: str
) -> list[tuple[int, ...]]:
    """The questions of each row, none for rows of other questions. Raises DataError for what cannot be decided."""
    contradicting = [i for i, fit in enumerate(found) if fit.contradicted is not None]
    ambiguous = [i for i, fit in enumerate(found) if not _one_question(fit.numbers, questions)]
    if not contradicting and not ambiguous and not _mixed_splits(rows, [fit.numbers for fit in found]):
        return [fit.numbers for fit in found]
    named = [i for i, row in enumerate(rows) if any(key in index.by_key for key in row.keys)]
    sure = bool(contradicting) and not ambiguous and all(rows[i].image and found[i].numbers for i in contradicting)
    if sure and 2 * len(contradicting) >= len(named):
        announce(f"{where}: ids of {len(contradicting)} answers name other questions; joined by image and wording")
        return [fit.numbers for fit in found]
    by_shift = shifted(questions, rows, native_key, asks)
    if by_shift is not None:
        announce(f"{where}: ids number several question files through; joined by the order of their questions")
        return by_shift
    if ambiguous:
        raise DataError(_undecided(rows[ambiguous[0]], found[ambiguous[0]], questions, len(ambiguous)))
    if contradicting:
        raise DataError(_contradiction(rows[contradicting[0]], found[contradicting[0]], questions, len(contradicting)))
    return [fit.numbers for fit in found]


def _one_question(numbers: Sequence[int], questions: Sequence[Question]) -> bool:
    """Whether these are one question, which may stand in several splits."""
    if not numbers:
        return True
    first, *others = (questions[n] for n in numbers)
    same = all(q.image == first.image and normal(q.text) == normal(first.text) for q in others)
    return same and len({questions[n].group for n in numbers}) == len(numbers)


def _undecided(row: AnswerRow, fit: Fit, questions: Sequence[Question], others: int) -> str:
    keys = ", ".join(questions[n].key for n in fit.numbers[:3])
    says = f"asks {shown(row.question)}" if row.question else f"has id {row.keys[0]}"
    return (
        f"{row.where}: the answer {says}, which fits {len(fit.numbers)} questions ({keys} ...; {others} such answers); "
        "add the image's name, the split or the question's own id"
    )


def _contradiction(row: AnswerRow, fit: Fit, questions: Sequence[Question], others: int) -> str:
    assert fit.contradicted is not None
    question = questions[fit.contradicted]
    words = bool(row.question) and not asks(row, question)
    own, said = (question.text, row.question) if words else (question.image, row.image)
    what = "question" if words else "image"
    return (
        f"{row.where}: {row.keys[0]} is the id of the {what} {shown(own)}, but the answer has the {what} {shown(said)} "
        f"({others} such answers); give the questions that were asked, or remove the column that is wrong"
    )


def _by_line(questions: Sequence[Question], rows: Sequence[AnswerRow], where: str) -> Joined:
    """Pairs by position. Raises DataError for other numbers of rows, ids or wordings: a gap would shift the rest."""
    if len(questions) != len(rows):
        raise DataError(
            f"{where}: {len(rows)} answers for {len(questions)} questions; paired by line they must be equally many "
            "(use --pairing id where the answers carry ids)"
        )
    for row, question in zip(rows, questions, strict=True):
        keys = {question.key, native_key(question)}
        other_id = bool(row.keys) and not question.numbered and not keys & set(row.keys)
        other_words = bool(row.question) and not asks(row, question)
        other_image = bool(row.image and question.image) and not same_image(row.image, question.image)
        if other_id or other_words or other_image:
            says = row.question if other_words else row.image if other_image else row.keys[0]
            meant = question.text if other_words else question.image if other_image else question.key
            raise DataError(
                f"{row.where}: paired by line with {shown(meant)}, but the answer says {shown(says)}; use --pairing id"
            )
    return _collected(questions, rows, [(n,) for n in range(len(questions))], where)


def _collected(
    questions: Sequence[Question], rows: Sequence[AnswerRow], numbers: Sequence[tuple[int, ...]], where: str
) -> Joined:
    """The answer of each question. Equal answers count once; different ones contradict each other.

    Raises DataError if no answer fits, or for a label that is not the question's.
    """
    given: defaultdict[int, list[AnswerRow]] = defaultdict(list)
    orphans = []
    for row, found in zip(rows, numbers, strict=True):
        for number in found:
            _check_label(row, questions[number])
            given[number].append(row)
        if not found:
            orphans.append(row.keys[0] if row.keys else row.where)
    if rows and len(orphans) == len(rows):
        raise DataError(f"{where}: none of the {len(rows)} answers belongs to a question; first {orphans[0]}")
    mixed = _mixed_splits(rows, numbers)
    if mixed is not None:
        one, other = (rows[i].where for i in mixed)
        key = questions[numbers[mixed[1]][0]].key
        raise DataError(
            f"{other}: another answer than {one} to {key}, a question of several splits; add the split as 'category'"
        )
    answers = {n: {row.answer for row in rows} for n, rows in given.items()}
    contradicted = {n for n, texts in answers.items() if len(texts) > 1}
    lone = {n: next(iter(texts)) for n, texts in answers.items() if n not in contradicted}
    missing = tuple(q.key for n, q in enumerate(questions) if n not in contradicted and lone.get(n) is None)
    pairs = tuple((q, lone.get(n)) for n, q in enumerate(questions))
    return Joined(pairs, missing, tuple(orphans), tuple(questions[n].key for n in sorted(contradicted)))


def _mixed_splits(rows: Sequence[AnswerRow], numbers: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    """Two rows with different answers to a question of several splits: each may be meant for another split."""
    first: dict[int, int] = {}
    for i, found in enumerate(numbers):
        for number in found:
            other = first.setdefault(number, i)
            if len(found) > 1 and rows[other].answer != rows[i].answer:
                return other, i
    return None


def _check_label(row: AnswerRow, question: Question) -> None:
    """Raise DataError where the row's right answer is not the question's."""
    if not row.label or not question.label:
        return
    said, right = label_key(row.label), label_key(question.label)
    spellings = {right}
    place = "abcdefgh".find(right) if len(right) == 1 else -1
    if 0 <= place < len(question.choices):
        spellings |= {str(place), label_key(question.choices[place])}
    if said not in spellings:
        raise DataError(
            f"{row.where}: the right answer there is {shown(row.label)}, but question {question.key} has "
            f"{shown(question.label)}; give the questions that were asked"
        )
