"""ScienceQA: accuracy over all test questions and over those with an image (IMG).

    python evaluate/eval_sqa.py --question_path problems.json --answers_path outputs.json
    python evaluate/eval_sqa.py --llava_path llava-1.5-7b-hf --question_path llava_test_CQM-A.json \\
        --image_dir_path test --answers_save_path sqa.jsonl

A model is asked the questions with an image only; the others then count neither for nor against it.
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
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.benchmarks.benchmark import GROUPS, BenchmarkArguments, Groups, answered, checked, fill_in, publish_scores
from evaluate.benchmarks.choice_scoring import score_choices
from evaluate.benchmarks.sqa_files import read_questions, read_sqa_answers
from evaluate.metrics import scienceqa
from evaluate.metrics.paper import CHOICE_NOTE, CONTENT_NOTE, letter_substring

PAPER = {"paper": CHOICE_NOTE, "paper_content": CONTENT_NOTE}


@dataclass
class SqaArguments:
    """ScienceQA's own settings."""

    parser: str = flag("llava", "llava, lmms, or paper(_content): EFUF's substring match", ("llava", "lmms", *PAPER))


def score(joined: Joined, parser: str, groups: Groups) -> Result:
    """Accuracy by one of the rules."""

    def judge(question: Question, answer: str) -> tuple[bool, bool]:
        """Whether the answer is right, and whether it could not be read."""
        gold = scienceqa.LETTERS.index(question.label)
        if parser in PAPER:
            return letter_substring(answer, gold, question.choices, parser == "paper_content"), False
        chosen = scienceqa.PARSERS[parser](answer, len(question.choices))
        return chosen == gold, chosen is None

    definition = PAPER.get(parser, f"letter of the choice, parser {parser}, unreadable is wrong")
    names = ("scienceqa", definition, scienceqa.VERSION)
    return score_choices(joined, judge, lambda q: (q.group,), ("image",), names, groups, prompt=CHOICE, parser=parser)


ARGUMENTS = (SqaArguments, *GROUPS)


def read_given(args: BenchmarkArguments) -> list[AnswerRow] | None:
    """The answers of `--answers_path`; None where a model is to be asked. Raises DataError."""
    if args.answers_path is None:
        return None
    return read_sqa_answers(require_file(str(args.answers_path), "--answers_path"), args.answer_column)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="sqa")
    groups = checked(own, *shared)
    args = groups[0]
    fill_in("sqa", groups)
    joined: Joined | None
    rows = read_given(args)
    if args.question_path is not None:
        questions = read_questions(require_file(args.question_path, "--question_path"))
        if rows is None:  # a model here is asked only about images
            questions = [question for question in questions if question.image]
        joined = answered(questions, CHOICE, groups, rows)
    elif rows is not None:
        joined = self_contained(rows, lambda row: choice_letter(row, scienceqa.LETTERS), ("image",), "")
    else:
        raise ArgumentError("--question_path is needed: ScienceQA's problems.json or LLaVA's question file")
    if joined is not None:
        joined.report()
        publish_scores(score(joined, own.parser, groups), groups)


if __name__ == "__main__":
    run(main)
