"""Q-Bench A1 (LLVisionQA): accuracy on low-level questions about images.

    python evaluate/eval_qbench.py --question_path llvisionqa_dev.json --answers_path answers.jsonl
    python evaluate/eval_qbench.py --llava_path llava-1.5-7b-hf --question_path llvisionqa_dev.json \\
        --image_dir_path images --answers_save_path qbench.jsonl
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
from common.prompts import CHOICE
from evaluate.answers.own import choice_letter, self_contained
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.benchmark import GROUPS, Groups, answered, checked, fill_in, given_answers, publish_scores
from evaluate.benchmarks.choice_scoring import score_choices
from evaluate.benchmarks.qbench_files import read_questions
from evaluate.metrics import qbench
from evaluate.metrics.paper import CHOICE_NOTE, CONTENT_NOTE, letter_substring

PAPER = {"paper": CHOICE_NOTE, "paper_content": CONTENT_NOTE}


@dataclass
class QbenchArguments:
    """Q-Bench's own settings."""

    parser: str = flag("rules", "rules, or paper(_content): EFUF's substring match", ("rules", *PAPER))


def score(joined: Joined, parser: str, groups: Groups) -> Result:
    """Accuracy by one of the rules."""

    def judge(question: Question, answer: str) -> tuple[bool, bool]:
        """Whether the answer is right, and whether it could not be read."""
        gold = qbench.LETTERS.index(question.label)
        if parser in PAPER:
            return letter_substring(answer, gold, question.choices, parser == "paper_content"), False
        chosen = qbench.choice(answer, question.choices)
        return chosen == gold, chosen is None

    definition = PAPER.get(parser, "choice read by rule, unreadable is wrong, nothing guessed")
    names = ("qbench", definition, qbench.VERSION)
    return score_choices(joined, judge, lambda _: (), (), names, groups, prompt=CHOICE, parser=parser)


ARGUMENTS = (QbenchArguments, *GROUPS)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="qbench")
    groups = checked(own, *shared)
    args = groups[0]
    fill_in("qbench", groups)
    joined: Joined | None
    rows = given_answers(args, yes_no=False)
    if args.question_path is not None:
        questions = read_questions(require_file(args.question_path, "--question_path"))
        joined = answered(questions, CHOICE, groups, rows)
    elif rows is not None:
        joined = self_contained(rows, lambda row: choice_letter(row, qbench.LETTERS), ("",), "")
    else:
        raise ArgumentError("--question_path is needed: llvisionqa_dev.json")
    if joined is not None:
        joined.report()
        publish_scores(score(joined, own.parser, groups), groups)


if __name__ == "__main__":
    run(main)
