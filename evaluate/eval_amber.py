"""AMBER: hallucination of descriptions (CHAIR, Cover, Hal, Cog) and yes/no questions (positive class no).

    python evaluate/eval_amber.py --amber_path AMBER/data --answers_path responses.jsonl
    python evaluate/eval_amber.py --llava_path llava-1.5-7b-hf --amber_path AMBER/data --image_dir_path AMBER/image \\
        --question_path AMBER/data/query/query_all.json --answers_save_path amber.jsonl

Words match through AMBER's association list alone (`evaluate/README.md` says what that changes).
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.records import Result
from common.files.storage import require_dir, require_file
from common.paths import display
from common.progress import announce
from common.prompts import MME
from evaluate.answers.questions import Joined, Question
from evaluate.benchmarks.amber_files import GENERATIVE, Annotation, read_annotations, read_queries, read_vocabulary
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
from evaluate.benchmarks.pope_files import label_of
from evaluate.metrics import amber
from evaluate.metrics.amber import Vocabulary
from evaluate.metrics.stats import Units, point_scores
from evaluate.results.scoring import scored, units_json


@dataclass
class AmberArguments:
    """AMBER's own settings."""

    amber_path: str | None = flag(None, "AMBER's data folder: annotations*.json, relation.json, safe_words.txt")


def annotation_file(folder: Path) -> Path:
    """The one annotations file of the folder. Raises DataError if there is none, or several."""
    found = sorted(folder.glob("annotations*.json"))
    if len(found) != 1:
        raise DataError(
            f"{display(folder)} (from --amber_path) holds {len(found)} files annotations*.json, expected one"
        )
    return found[0]


@dataclass(frozen=True)
class Scored:
    """What of AMBER is scored, and what becomes of the rest.

    Attributes:
        described: generative items with a description.
        asked: yes/no questions of the kinds of which at least one was answered.
        left_out: what counts neither way: how many of each sort.
        wrong: questions among `asked` that count as wrong because they have no answer, or several.
    """

    described: tuple[Annotation, ...]
    asked: tuple[Annotation, ...]
    left_out: Mapping[str, int]
    wrong: int

    def report(self) -> None:
        """Say on standard error what is left out and what counts as wrong; silent where all was answered."""
        for sort, number in self.left_out.items():
            announce(f"{number} {sort} are left out: they count neither as right nor as wrong")
        if self.wrong:
            announce(f"{self.wrong} yes/no questions without one answer count as wrong")


def chosen(items: Sequence[Annotation], joined: Joined) -> Scored:
    """What can be scored: descriptions there are, and yes/no questions of every kind that was asked at all."""
    answers = {q.key for q, text in joined.pairs if text is not None}
    tried = answers | set(joined.contradicted)
    kinds = {i.kind for i in items if i.kind != GENERATIVE and i.key in tried}
    described = tuple(i for i in items if i.kind == GENERATIVE and i.key in answers)
    asked = tuple(i for i in items if i.kind in kinds)
    left_out = Counter(i.kind for i in items if i.kind not in kinds and i.key not in answers)
    missing = left_out.pop(GENERATIVE, 0)
    named = {f"questions of the kind {kind}, of which none was answered,": n for kind, n in sorted(left_out.items())}
    if missing:
        named = {"descriptions that are missing, blank or contradicted": missing} | named
    return Scored(described, asked, named, sum(i.key not in answers for i in asked))


def generative_units(items: Sequence[Annotation], answers: Mapping[str, str], vocabulary: Vocabulary) -> Units:
    """The counts of each description."""
    forms = vocabulary.forms()
    scores = [amber.score_response(answers[i.key], i.truth, i.traps, vocabulary, forms) for i in items]
    return amber.response_units([item.key for item in items], scores)


def yes_no_units(items: Sequence[Annotation], answers: Mapping[str, str]) -> Units:
    """The counts of each yes/no question."""
    rows = [amber.question_row(label_of(item.truth[0], item.key), answers.get(item.key)) for item in items]
    return amber.question_units([item.key for item in items], rows)


def score(items: Sequence[Annotation], joined: Joined, vocabulary: Vocabulary, groups: Groups) -> Result:
    """The generative scores if there are descriptions, the discriminative ones of the kinds that were asked."""
    answers = {q.key: text for q, text in joined.pairs if text is not None}
    parts = chosen(items, joined)
    parts.report()
    described = generative_units(parts.described, answers, vocabulary)
    yes_no = yes_no_units(parts.asked, answers) if parts.asked else None
    main_units = described if described.ids or yes_no is None else yes_no
    scores, bounds = scored(described, amber.GENERATIVE, groups[3].seed) if described.ids else ({}, {})
    splits = None
    if yes_no is not None:
        more, more_bounds = scored(yes_no, amber.DISCRIMINATIVE, groups[3].seed)
        scores, bounds = scores | more, bounds | more_bounds
        splits = {kind: _kind_scores(parts.asked, answers, kind) for kind in sorted({i.kind for i in parts.asked})}
    totals = {name: int(v) for units in (described, yes_no) if units is not None for name, v in units.sums().items()}
    counts = totals | joined.counts() | {"missing": parts.wrong, "left_out": sum(parts.left_out.values())}
    return Result(
        task="amber",
        definition="association: words match through AMBER's list, not through word vectors; positive class no",
        version=amber.VERSION,
        n=len(described.ids) + (len(yes_no.ids) if yes_no else 0),
        scores=scores,
        intervals=bounds,
        counts=counts,
        splits=splits,
        manifest=about(groups, joined, prompt=MME),
        units=units_json(main_units),
    )


def _kind_scores(items: Sequence[Annotation], answers: Mapping[str, str], kind: str) -> dict[str, float]:
    return point_scores(yes_no_units([i for i in items if i.kind == kind], answers), amber.DISCRIMINATIVE)


ARGUMENTS = (AmberArguments, *GROUPS)


def main() -> None:
    """Parse, ask or read, score. Raises UserError."""
    own, *shared = parse(ARGUMENTS, __doc__ or "", step="amber")
    groups = checked(own, *shared)
    args = groups[0]
    if own.amber_path is None:
        raise ArgumentError("--amber_path is needed: AMBER's data folder")
    folder = require_dir(own.amber_path, "--amber_path")
    items = read_annotations(annotation_file(folder))
    vocabulary = read_vocabulary(folder / "relation.json", folder / "safe_words.txt")
    rows, queries = given_answers(args, yes_no=True), None
    if rows is None:
        if args.question_path is None:
            raise ArgumentError("--question_path is needed to ask a model: one of AMBER's query files")
        fill_in("amber", groups)
        queries = read_queries(require_file(args.question_path, "--question_path"))
    joined = answered([Question(item.key, "", "") for item in items], MME, groups, rows, queries)
    if joined is not None:
        publish_scores(score(items, joined, vocabulary, groups), groups)


if __name__ == "__main__":
    run(main)
