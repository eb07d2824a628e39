"""What the columns of an answer file mean: declared here as data, decided once for the whole file, cross-checked.

Most names mean one thing wherever they stand (`ROLES`). A few mean the model's words in one tool's files and the right
answer or the question in another's; which it is depends on the other columns of the file (`LAYOUTS`, the first that
fits). All columns that then mean the same must say the same in every row: see :mod:`evaluate.answers.rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.errors import DataError, suggestion

Role = Literal["answer", "gold", "question", "id", "image", "group", "choices"]

PREDICTIONS = (
    "response",
    "prediction",
    "pred",
    "output",
    "model_answer",
    "model_output",
    "model_response",
    "filtered_resps",
    "resps",
)
ROLES: Mapping[Role, tuple[str, ...]] = {
    "answer": PREDICTIONS,
    "gold": ("label", "gt_answer", "ground_truth", "correct_ans", "gold", "target"),
    "question": ("question", "prompt", "query"),
    "id": ("question_id", "questionId", "qid", "id"),
    "image": ("image", "image_source", "image_path", "img_path", "image_file", "imageId"),
    "group": ("category", "split"),
    "choices": ("candidates", "choices"),
}
ROW_NUMBERS = ("index", "doc_id")  # a tool's own numbers of its rows, never taken for the ids of questions


@dataclass(frozen=True)
class Layout:
    """How one kind of file uses the names that have two meanings.

    Attributes:
        name: for messages and documentation.
        any_of: the file has one of these columns.
        also_any_of: and one of these, where any are named.
        means: what the ambiguous columns are there.
        outdated: columns of predictions that another one supersedes, e.g. raw responses beside filtered ones.
    """

    name: str
    any_of: tuple[str, ...]
    means: Mapping[str, Role]
    also_any_of: tuple[str, ...] = ()
    outdated: tuple[str, ...] = field(default=())

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a file with these columns is of this kind."""
        return any(c in columns for c in self.any_of) and (
            not self.also_any_of or any(c in columns for c in self.also_any_of)
        )


LAYOUTS = (
    Layout(
        "lmms-eval samples",
        ("filtered_resps",),
        {"answer": "gold", "text": "question", "input": "question"},
        outdated=("resps",),
    ),
    Layout("lmms-eval samples", ("resps",), {"answer": "gold", "text": "question", "input": "question"}),
    Layout("VLMEvalKit table", ("prediction",), {"answer": "gold", "text": "question"}, also_any_of=("index",)),
    Layout("predictions", PREDICTIONS, {"answer": "gold", "text": "question"}),
    Layout("questions with answers", ("answer",), {"answer": "answer", "text": "question"}),
    Layout("LLaVA answers", ("text",), {"text": "answer"}),
)


@dataclass(frozen=True)
class Columns:
    """What the columns of one file mean.

    Attributes:
        layout: the kind of file.
        answer: the column of the model's words; further ones that must say the same in `same_answer`.
        roles: the other columns by role, in the order of the declaration.
    """

    layout: str
    answer: str
    same_answer: tuple[str, ...]
    roles: Mapping[Role, tuple[str, ...]]

    def line(self) -> str:
        """One line for the user."""
        others = [f"{', '.join(names)} as {role}" for role, names in self.roles.items() if names]
        return f"{self.layout}: {', '.join([f'{self.answer} read as answer', *others])}"


def decide(columns: Collection[str], where: str, chosen: str | None = None) -> Columns:
    """The meaning of the columns of a file. Raises DataError where none holds the model's words.

    Args:
        columns: all names that occur.
        where: the file, for messages.
        chosen: the column that the user names as the model's (`--answer_column`).
    """
    layout = _by_choice(columns, where, chosen) if chosen else next((e for e in LAYOUTS if e.fits(columns)), None)
    if layout is None:
        known = ", ".join(("answer", *PREDICTIONS, "text"))
        raise DataError(f"{where}: no answer; known layouts have one of {known}, found {', '.join(columns) or 'none'}")
    means: dict[str, Role] = {name: role for role, names in ROLES.items() for name in names} | dict(layout.means)
    held = [name for name in means if name in columns and name not in layout.outdated]
    answers = [chosen] if chosen else [name for name in held if means[name] == "answer"]
    roles: dict[Role, tuple[str, ...]] = {
        role: tuple(n for n in held if means[n] == role and n not in answers and role != "answer") for role in ROLES
    }
    return Columns(layout.name, answers[0], tuple(answers[1:]), roles)


def _by_choice(columns: Collection[str], where: str, chosen: str) -> Layout:
    """The layout of a file whose answers the user names; another `answer` is the right one, a lone `text` asks."""
    if chosen not in columns:
        raise DataError(f"{where} (from --answer_column): no column {chosen}{suggestion(chosen, sorted(columns))}")
    means: dict[str, Role] = {"answer": "gold"}
    if not any(name in columns for name in ROLES["question"]):
        means["text"] = "question"
    return Layout("chosen column", (chosen,), means, outdated=tuple(n for n in PREDICTIONS if n != chosen))


def named_choices(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns A, B, C ... of a table of multiple-choice questions; empty where there are not at least two."""
    letters = [letter for letter in "ABCDEFGH" if letter in columns]
    return tuple(letters) if letters[:2] == ["A", "B"] else ()
