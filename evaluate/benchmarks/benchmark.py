"""What the question benchmarks share: their flags, asking a model, and finding the question of each answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.args import GenerationArguments, ModelArguments, RunArguments, flag
from common.errors import ArgumentError, DataError
from common.files.contents import values_hash
from common.files.images import ImageFolder
from common.files.places import BENCHMARKS, inputs
from common.files.records import Result
from common.files.storage import require_file
from common.identity import identity, images_identity, model_identity
from common.manifest import manifest
from common.mini_world import is_mini_model
from common.outputs.lines import LineTarget
from common.paths import MINI_LLAVA
from common.progress import announce
from evaluate.answers.joining import join
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.answers.rows import read_answers
from evaluate.benchmarks.answering import Decoding, answer_questions
from evaluate.results.outputs import check_outputs
from evaluate.results.run_files import run_file
from evaluate.results.scoring import publish


@dataclass
class BenchmarkArguments:
    """Questions, and answers: read from a file, or asked of a model."""

    question_path: str | None = flag(None, "the benchmark's questions (file or folder, in its published layout)")
    answers_path: str | None = flag(None, "score this answer file (or folder) without a model")
    answers_save_path: str | None = flag(None, "where the model's answers go (JSON Lines, continued by question id)")
    image_dir_path: str | None = flag(None, "folder of the images, for asking a model")
    answer_column: str | None = flag(None, "column of --answers_path that holds the model's words, if several could")
    pairing: str = flag(
        "id", "answers belong to questions by wording, image and id, or by line as in some scripts", ("id", "line")
    )
    result_path: str | None = flag(None, "where to write the scores as JSON")
    run_name: str | None = flag(None, "names the files of answers and scores that no other flag names, in results/")


@dataclass
class AnswerArguments(GenerationArguments):
    """How answers are generated: as captions, but greedy."""

    generate_num_beams: int = flag(1, "beams; 1 is greedy, as published for question benchmarks")


Groups = tuple[BenchmarkArguments, ModelArguments, AnswerArguments, RunArguments]
STEP = "evaluate.benchmarks"  # as answers note who made them
GROUPS: tuple[type, ...] = (BenchmarkArguments, ModelArguments, AnswerArguments, RunArguments)


def checked(own: Any, *shared: Any) -> Groups:
    """The groups that all share, once the outputs may be written. Raises ArgumentError, DataError."""
    groups: Groups = shared
    args = groups[0]
    check_answers(args, (own, *groups))
    if args.answers_path is None and args.pairing == "line":
        raise ArgumentError("--pairing line is for --answers_path; a model's own answers carry ids")
    return groups


def check_answers(args: BenchmarkArguments, groups: Sequence[Any]) -> None:
    """Refuse outputs that may not be written, before anything is made for them. Raises ArgumentError, DataError.

    Args:
        groups: argument dataclasses whose paths are inputs.
    """
    check_outputs(groups, args.result_path, answers_save_path=args.answers_save_path)
    if args.answers_save_path is not None and args.answers_path is None:
        _answers_target(args.answers_save_path).check()


def _answers_target(path: str) -> LineTarget:
    return LineTarget(Path(path), "answers_save_path", STEP, _own_answer, _answer_key)


def fill_in(task: str, groups: Groups) -> None:
    """Set what asking a model needs and was not given: published places, and files named by the run.

    Raises DataError that lists what lies nowhere.
    """
    args, model_args = groups[0], groups[1]
    if args.answers_path is not None:
        return
    if task in BENCHMARKS:
        given = {name: getattr(args, name) for name in ("question_path", "image_dir_path")}
        for name, path in inputs(given, BENCHMARKS[task]).items():
            setattr(args, name, str(path))
    if args.answers_save_path is None:
        args.answers_save_path = str(run_file(task, args.run_name, model_args, ".jsonl"))
    if args.result_path is None and (args.run_name or task in BENCHMARKS):
        args.result_path = str(run_file(task, args.run_name, model_args, ".json"))


def nothing() -> None:
    """What begins with asking where nothing else does."""


def ask(
    questions: Sequence[Question], template: str, groups: Groups, begin: Callable[[], None] = nothing
) -> list[AnswerRow] | None:
    """Answers of the chosen model to the questions, in their order; None for a dry run.

    Args:
        begin: called once nothing is refused any more, before the first question.

    Raises ArgumentError for missing flags or a file begun with other settings, DataError for images.
    """
    args, model_args, generation, run_args = groups
    if args.image_dir_path is None or args.answers_save_path is None:
        raise ArgumentError(
            "asking a model needs --image_dir_path and --answers_save_path; give --answers_path to score a file instead"
        )
    check_answers(args, groups)
    chosen = _wanted(questions, run_args)
    images = ImageFolder(Path(args.image_dir_path), turn=not model_args.ignore_exif_orientation)
    images.require(q.image for q in chosen if q.image)
    target = _answers_target(args.answers_save_path)
    if run_args.dry_run:
        announce(f"would ask {len(chosen)} questions")
        return None
    decoding = Decoding(
        generation.generate_num_beams, generation.max_new_tokens, generation.length_penalty, generation.infer_bs
    )
    begun_with = settings(template, decoding, model_args, questions, images.path)
    with target.open(begun_with, run_args.restart) as lines:
        begin()
        answer_questions(lambda: _load(model_args, images), chosen, images, template, lines, decoding)
        if not lines.gather(images.lost):
            return None
        images.check_losses(len(chosen))
        lines.finish(manifest(groups, model=_path(model_args), checkpoint=model_args.chosen("ckpt_load_path")))
    return read_answers(args.answers_save_path)


def _load(model_args: ModelArguments, images: ImageFolder) -> Any:
    """The chosen model; images are opened no larger than it looks at them."""
    from common.models import load_from_args

    model = load_from_args(model_args)
    images.reduced = getattr(model, "reduced", images.reduced)  # a stand-in may look at whole images
    return model


def _wanted(questions: Sequence[Question], run_args: RunArguments) -> Sequence[Question]:
    end = len(questions) if run_args.end_pos < 0 else run_args.end_pos
    if not questions[run_args.start_pos : end]:
        raise DataError(f"no question left between --start_pos {run_args.start_pos} and --end_pos {run_args.end_pos}")
    return questions[run_args.start_pos : end]


def _own_answer(value: Mapping[str, Any], where: str) -> None:
    """Raise DataError unless a record is one that asking writes."""
    if "question_id" not in value or not isinstance(value.get("answer"), str):
        raise DataError(f"{where}: no question_id with an answer")


def _answer_key(value: Mapping[str, Any]) -> str:
    return str(value.get("question_id"))


def given_answers(args: BenchmarkArguments, yes_no: bool) -> list[AnswerRow] | None:
    """The answers of `--answers_path`; None where a model is to be asked. Raises DataError."""
    if args.answers_path is None:
        return None
    return read_answers(require_file(str(args.answers_path), "--answers_path"), yes_no, args.answer_column)


def answered(
    questions: Sequence[Question],
    template: str,
    groups: Groups,
    rows: Sequence[AnswerRow] | None,
    asked: Sequence[Question] | None = None,
    begin: Callable[[], None] = nothing,
) -> Joined | None:
    """Questions with the given answers, or with those of the chosen model; None for a dry run.

    Args:
        rows: answers of `--answers_path`; None: a model is asked.
        asked: the questions as a model is asked them, where that is in other words.
        begin: called once nothing is refused any more; before the first question, where a model is asked.

    Raises ArgumentError for missing flags or a file begun with other settings, DataError.
    """
    args = groups[0]
    if rows is not None:
        joined = join(questions, rows, args.pairing, str(args.answers_path))
        begin()
        return joined
    found = ask(questions if asked is None else asked, template, groups, begin)
    return None if found is None else join(questions, found, "id", str(args.answers_save_path))


def settings(
    template: str, decoding: Decoding, model_args: ModelArguments, questions: Sequence[Question], folder: Path
) -> dict[str, Any]:
    """Whatever changes the answers: the prompt, the decoding, the model, the questions and their images."""
    from common.models.resolve import resolve_device, resolve_dtype

    options = {
        "prompt": template,
        "num_beams": decoding.num_beams,
        "max_new_tokens": decoding.max_new_tokens,
        "length_penalty": decoding.length_penalty,
        "questions_sha256": values_hash((q.key, q.text, q.image) for q in questions),
    }
    dtype = resolve_dtype(model_args.dtype, resolve_device(model_args.device))
    images = images_identity(folder, (q.image for q in questions if q.image))
    return identity(options, model_identity(model_args, str(dtype)), images)


def publish_scores(result: Result, groups: Groups) -> None:
    """Print the scores and write them where --result_path says; a dry run, which may score a file, writes nothing."""
    publish(result, None if groups[3].dry_run else groups[0].result_path or None)


def _path(model_args: ModelArguments) -> str | Path | None:
    return MINI_LLAVA if is_mini_model(model_args) else model_args.chosen("path")


def about(groups: Groups, joined: Joined, **more: Any) -> dict[str, Any]:
    """The manifest of a benchmark's result."""
    args, model_args, generation, run_args = groups
    asked = args.answers_path is None
    kept = (args, model_args, generation, run_args) if asked else (args, run_args)
    path = _path(model_args) if asked else None
    checkpoint = model_args.chosen("ckpt_load_path") if asked else None
    return manifest(kept, model=path, checkpoint=checkpoint, images=len({q.image for q, _ in joined.pairs}), **more)
