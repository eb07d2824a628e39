"""Q-Bench A1 (LLVisionQA): accuracy on low-level questions about images.

    python evaluate/eval_qbench.py --question_path llvisionqa_dev.json --answers_path answers.jsonl
    python evaluate/eval_qbench.py --llava_path llava-1.5-7b-hf --question_path llvisionqa_dev.json \\
        --image_dir_path images --answers_save_path qbench.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.records import Result
from common.files.storage import require_file
from common.prompts import CHOICE
from evaluate.benchmarks.answer_files import first_text, read_objects
from evaluate.benchmarks.benchmark import GROUPS, Groups, answered
from evaluate.benchmarks.choice_scoring import score_choices
from evaluate.benchmarks.questions import Joined, Question
from evaluate.metrics import qbench
from evaluate.metrics.paper import CHOICE_NOTE, CONTENT_NOTE, letter_substring
from evaluate.results.scoring import publish

PAPER = {"paper": CHOICE_NOTE, "paper_content": CONTENT_NOTE}


@dataclass
class QbenchArguments:
    """Q-Bench's own settings."""

    parser: str = flag("rules", "rules, or paper(_content): EFUF's substring match", ("rules", *PAPER))


def read_questions(path: Path | str) -> list[Question]:
    """Questions with their choices lettered below; ids are given, or the entries' numbers. Raises DataError."""
    found = []
    for number, (where, entry) in enumerate(read_objects(path), start=1):
        text, gold = first_text(entry, ("question",)), first_text(entry, ("correct_ans", "answer"))
        candidates = entry.get("candidates")
        if text is None or gold is None or not isinstance(candidates, list):
            raise DataError(f"{where}: expected question, candidates and correct_ans; found {', '.join(entry)}")
        choices = tuple(map(str, candidates))
        if gold not in choices or len(choices) > len(qbench.LETTERS):
            raise DataError(f"{where}: the right answer '{gold}' is not one of at most four candidates")
        lines = "".join(f"{letter}. {choice}\n" for letter, choice in zip(qbench.LETTERS, choices, strict=False))
        key = first_text(entry, ("question_id", "id")) or str(number)
        label = qbench.LETTERS[choices.index(gold)]
        found.append(
            Question(key, f"{text}\n{lines}", label, first_text(entry, ("img_path", "image")) or "", "", choices)
        )
    return found


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
    own, *rest = parse(ARGUMENTS, "Q-Bench A1: multiple choice", step="qbench")
    groups: Groups = tuple(rest)
    args = groups[0]
    if args.question_path is None:
        raise ArgumentError("--question_path is needed: llvisionqa_dev.json")
    questions = read_questions(require_file(args.question_path, "--question_path"))
    joined = answered(questions, CHOICE, groups)
    if joined is not None:
        publish(score(joined, own.parser, groups), args.result_path)


if __name__ == "__main__":
    run(main)
