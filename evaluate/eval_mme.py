"""MME: perception, cognition and the score of each subtask.

    python evaluate/eval_mme.py --answers_path results/llava-v1.5-13b
    python evaluate/eval_mme.py --llava_path llava-1.5-7b-hf --question_path questions --image_dir_path MME_images \\
        --answers_save_path mme.jsonl

An answers folder holds MME's text files (image, question, label, answer between tabs). An answers file is a table of
VLMEvalKit or lmms-eval, or, with --question_path, rows without label such as LLaVA's and this script's own.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.records import Result
from common.paths import display
from common.prompts import MME
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.benchmark import (
    GROUPS,
    Groups,
    about,
    answered,
    checked,
    fill_in,
    given_answers,
    publish_scores,
)
from evaluate.benchmarks.mme_files import answers_alone, read_folder, read_questions, self_contained, with_questions
from evaluate.metrics import mme
from evaluate.metrics.mme import ImageVerdict
from evaluate.metrics.yes_no import MME_PARSERS, Parser
from evaluate.results.scoring import scored, units_json

LLAVA_INSTRUCTION = "\nAnswer the question using a single word or phrase."


@dataclass
class MmeArguments:
    """MME's own settings."""

    parser: str = flag("official", "how yes and no are read (see evaluate/README.md)", tuple(MME_PARSERS))
    llava_wording: bool = flag(False, "replace 'Please answer yes or no.' by LLaVA's short-answer instruction")


def image_verdicts(joined: Joined, parser: Parser) -> tuple[list[str], list[ImageVerdict]]:
    """Ids and verdicts of the images. Raises DataError for an image that has not two questions in its subtask."""
    by_image: defaultdict[tuple[str, str], list[tuple[Question, str | None]]] = defaultdict(list)
    for question, answer in joined.pairs:
        by_image[question.group, question.image].append((question, answer))
    ids, verdicts = [], []
    for (subtask, image), both in by_image.items():
        if len(both) != 2:
            raise DataError(f"MME {subtask}: image {image} has {len(both)} questions, expected 2")
        read = [None if answer is None else parser(answer) for _, answer in both]
        first, second = (found == q.label for found, (q, _) in zip(read, both, strict=True))
        missing = sum(answer is None for _, answer in both)
        unread = sum(found is None for found in read) - missing
        ids.append(f"{subtask}/{image}")
        verdicts.append(ImageVerdict(subtask, (first, second), unread, missing))
    return ids, verdicts


def score(joined: Joined, parser: str, groups: Groups) -> Result:
    """All of MME's scores."""
    ids, verdicts = image_verdicts(joined, MME_PARSERS[parser])
    subtasks = [s for s in mme.SUBTASKS if any(v.subtask == s for v in verdicts)]
    units = mme.image_units(ids, verdicts, subtasks)
    scores, bounds = scored(units, mme.formulas(subtasks), groups[3].seed)
    totals = units.sums()
    counts = {name: int(totals[name]) for name in ("questions", "unparseable", "missing")}
    return Result(
        task="mme",
        definition=f"accuracy + accuracy of both questions of an image, parser {parser}",
        version=mme.VERSION,
        n=int(totals["questions"]),
        scores=scores,
        intervals=bounds,
        counts=joined.counts() | counts | {"images": len(ids)},
        manifest=about(groups, joined, prompt=MME, parser=parser),
        units=units_json(units),
    )


def worded(questions: Sequence[Question], llava: bool) -> list[Question]:
    """The questions, with LLaVA's instruction in place of MME's where wanted."""
    if not llava:
        return list(questions)
    old = " Please answer yes or no."
    return [Question(q.key, q.text.replace(old, LLAVA_INSTRUCTION), q.label, q.image, q.group) for q in questions]


def joined_answers(own: MmeArguments, groups: Groups) -> Joined | None:
    """Questions with answers, from files or a model; None for a dry run. Raises UserError."""
    args = groups[0]
    if args.answers_path is not None and Path(args.answers_path).is_dir():
        answers, where = read_folder(args.answers_path, "--answers_path"), display(args.answers_path)
        if args.question_path is None:
            return answers_alone(answers, where)
        return with_questions(read_folder(args.question_path, "--question_path"), answers, where)
    rows = given_answers(args, yes_no=True)
    if args.question_path is not None:
        questions = read_questions(args.question_path, "--question_path")
        return answered(questions, MME, groups, rows, worded(questions, own.llava_wording))
    if rows is None:
        raise ArgumentError("--question_path is needed: the folder with MME's question files")
    return self_contained(rows)


ARGUMENTS = (MmeArguments, *GROUPS)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="mme")
    groups = checked(own, *shared)
    fill_in("mme", groups)
    joined = joined_answers(own, groups)
    if joined is not None:
        joined.report()
        publish_scores(score(joined, own.parser, groups), groups)


if __name__ == "__main__":
    run(main)
