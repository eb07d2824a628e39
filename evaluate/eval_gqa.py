"""GQA: exact-match accuracy, over all questions and over binary and open ones where the file tells them apart.

    python evaluate/eval_gqa.py --question_path testdev_balanced_questions.json --answers_path answers.jsonl
    python evaluate/eval_gqa.py --llava_path llava-1.5-7b-hf --question_path testdev_balanced_questions.json \\
        --image_dir_path images --answers_save_path gqa.jsonl

Consistency, validity, plausibility and distribution need GQA's scene graphs and are out of scope.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from dataclasses import dataclass

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError
from common.files.records import Result
from common.files.storage import require_file
from common.prompts import VQA
from evaluate.answers.own import self_contained
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.benchmark import GROUPS, Groups, answered, checked, fill_in, given_answers, publish_scores
from evaluate.benchmarks.choice_scoring import score_choices
from evaluate.benchmarks.gqa_files import read_questions
from evaluate.metrics import gqa
from evaluate.metrics.paper import GQA_NOTE, gqa_substring

KINDS = ("binary", "open")


@dataclass
class GqaArguments:
    """GQA's own settings."""

    parser: str = flag("llava", "llava, lmms, or paper: EFUF's substring match", ("llava", "lmms", "paper"))


def score(joined: Joined, parser: str, groups: Groups) -> Result:
    """Accuracy by one of the rules."""

    def judge(question: Question, answer: str) -> tuple[bool, bool]:
        """Whether the answer is right, and whether it could not be read."""
        if parser == "paper":
            return gqa_substring(answer, question.label), False
        return gqa.is_right(answer, question.label, gqa.NORMALISERS[parser]), not answer.strip()

    definition = GQA_NOTE if parser == "paper" else f"exact match, normalised as {parser}"
    names = ("gqa", definition, gqa.VERSION)
    return score_choices(joined, judge, lambda q: (q.group,), KINDS, names, groups, prompt=VQA, parser=parser)


ARGUMENTS = (GqaArguments, *GROUPS)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="gqa")
    groups = checked(own, *shared)
    args = groups[0]
    fill_in("gqa", groups)
    joined: Joined | None
    rows = given_answers(args, yes_no=False)
    if args.question_path is not None:
        questions = read_questions(require_file(args.question_path, "--question_path"))
        joined = answered(questions, VQA, groups, rows)
    elif rows is not None:
        joined = self_contained(rows, lambda row: row.label, KINDS, "")
    else:
        raise ArgumentError("--question_path is needed: GQA's questions with their answers")
    if joined is not None:
        joined.report()
        publish_scores(score(joined, own.parser, groups), groups)


if __name__ == "__main__":
    run(main)
