"""POPE: asks whether objects are in the image; accuracy, precision, recall, F1 and share of yes answers a split.

    python evaluate/eval_pope.py                                        # three splits from the mini world, mini-llava
    python evaluate/eval_pope.py --answers_path answers.jsonl --question_path coco_pope_random.json
    python evaluate/eval_pope.py --llava_path llava-1.5-7b-hf --question_path output/coco --image_dir_path val2014 \\
        --answers_save_path pope.jsonl
    python evaluate/eval_pope.py --annotation_path annotations --image_dir_path val2014 --answers_save_path pope.jsonl
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
from common.files.coco import read_annotations
from common.files.records import Result
from common.mini_world import MiniWorld, Source, default_path, is_mini_model, source_of
from common.processes import is_first
from common.progress import announce
from common.prompts import POPE
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.benchmark import (
    GROUPS,
    Groups,
    about,
    answered,
    check_answers,
    checked,
    fill_in,
    given_answers,
    publish_scores,
)
from evaluate.benchmarks.pope_files import (
    build_questions,
    label_of,
    question_files,
    read_questions,
    self_contained,
    write_questions,
)
from evaluate.metrics import pope
from evaluate.metrics.stats import Units, point_scores
from evaluate.metrics.yes_no import POPE_PARSERS
from evaluate.results.scoring import scored, units_json


@dataclass
class PopeArguments:
    """POPE's own settings."""

    parser: str = flag("official", "how yes and no are read (see evaluate/README.md)", tuple(POPE_PARSERS))
    annotation_path: str | None = flag(None, "build the three splits from this COCO folder instead of --question_path")
    pope_images: int = flag(500, "images to build questions for")
    questions_save_path: str | None = flag(None, "folder to write built questions to")


def questions_for(args: PopeArguments, groups: Groups) -> list[Question]:
    """Questions from the given files, or built from annotations (by default the mini world's)."""
    if groups[0].question_path is not None:
        return read_questions(groups[0].question_path)
    mini = is_mini_model(groups[1])
    folder = default_path(
        args.annotation_path, mini, MiniWorld().eval_annotations, "--annotation_path", groups[3].dry_run
    )
    questions = build_questions(read_annotations(folder), args.pope_images, groups[3].seed)
    announce(f"built {len(questions)} POPE questions from {folder}")
    return questions


def with_mini_defaults(groups: Groups) -> Source | None:
    """Name images and answer file of the mini world where the bundled model is asked and none are given.

    Returns the images, which may have to be drawn; None where they are not the mini world's.
    """
    args, model_args = groups[0], groups[1]
    if not is_mini_model(model_args) or args.image_dir_path is not None or args.question_path is not None:
        return None
    images = source_of(None, True, MiniWorld().eval_images, "--image_dir_path")
    args.image_dir_path = str(images.path)
    args.answers_save_path = args.answers_save_path or str(MiniWorld().root / "pope_answers.jsonl")
    return images


def verdicts(joined: Joined, parser: str) -> Units:
    """The counts of each question."""
    judged = [pope.judge(label_of(q.label, q.key), answer, POPE_PARSERS[parser]) for q, answer in joined.pairs]
    return pope.question_units([q.key for q, _ in joined.pairs], judged, [q.image or q.key for q, _ in joined.pairs])


def score(joined: Joined, parser: str, groups: Groups) -> Result:
    """All of POPE's scores, over everything and a split; `f1_mean` is the mean over the splits."""
    units = verdicts(joined, parser)
    splits = {}
    for split in dict.fromkeys(q.group for q, _ in joined.pairs):
        part = Joined(tuple(pair for pair in joined.pairs if pair[0].group == split))
        own = verdicts(part, parser)
        splits[split] = point_scores(own, pope.FORMULAS) | {name: own.sums()[name] for name in ("tp", "fp", "tn", "fn")}
    scores, bounds = scored(units, pope.FORMULAS, groups[3].seed)
    scores["f1_mean"] = sum(s["f1"] for s in splits.values()) / len(splits)
    totals = {name: int(value) for name, value in units.sums().items()}
    return Result(
        task="pope",
        definition=f"positive class yes, parser {parser}, pairing by {groups[0].pairing}",
        version=pope.VERSION,
        n=len(units.ids),
        scores=scores,
        intervals=bounds,
        counts=totals | joined.counts(),
        splits=splits,
        manifest=about(groups, joined, prompt=POPE, parser=parser),
        units=units_json(units),
    )


ARGUMENTS = (PopeArguments, *GROUPS)


def joined_answers(own: PopeArguments, groups: Groups) -> Joined | None:
    """Questions with answers, from files or a model; None for a dry run. Raises UserError.

    Questions that were built are kept where --questions_save_path says, once nothing is refused any more.
    """
    args = groups[0]
    rows = given_answers(args, yes_no=True)
    if rows is None:
        images = with_mini_defaults(groups)
        fill_in("pope", groups)
        check_answers(args, (own, *groups))
        if images is not None:
            images.made(groups[3].dry_run)
    elif args.question_path is None and own.annotation_path is None:
        return self_contained(rows)
    questions = questions_for(own, groups)
    place = None if args.question_path is not None or groups[3].dry_run else own.questions_save_path
    if place:
        question_files(place, questions)  # refuses a folder that holds others

    def keep() -> None:
        if place and is_first():
            write_questions(place, questions)

    return answered(questions, POPE, groups, rows, begin=keep)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="pope")
    groups = checked(own, *shared)
    joined = joined_answers(own, groups)
    if joined is not None:
        joined.report()
        publish_scores(score(joined, own.parser, groups), groups)


if __name__ == "__main__":
    run(main)
