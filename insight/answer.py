"""The model's own answers before training, as instruction data: so that it goes on answering as it did.

    python insight/answer.py                                        # the built-in mini world
    python insight/answer.py --llava_path llava-1.5-7b-hf --object_data_path objects.jsonl \\
        --image_dir_path train2014 --answer_data_path own_answers.jsonl
    python finetune/train.py ... --gold_data_path own_answers.jsonl --gold_w 0.5 --train_bs_gold 16

Of each image that was captioned it is asked whether a thing is there: one that its captions name, then one that they do
not and those of other images do, in turn. Whatever the model says is written down; nothing is known of what is right.
Training learns these answers beside what it unlearns (instruction data): it is to change captions, not answers.

Resumable: a killed run started again ends with the same file. Raises (as one line, exit code 2) ArgumentError for flags
that do not fit together, DataError for files and images, CheckpointError for weights.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from common.args import GenerationArguments, ModelArguments, RunArguments, flag, parse
from common.captioning.asking import Request, ask
from common.captioning.captioner import deterministic_decoding
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.contents import values_hash
from common.files.images import ImageFolder
from common.files.record_files import answer_to_json, read_objects
from common.files.records import Answer, CaptionObjects
from common.files.storage import ResumableLines, read_json_lines, require_file
from common.files.vocabulary import ObjectVocabulary, read_vocabulary
from common.identity import identity, images_identity, inputs_identity, model_identity
from common.manifest import manifest
from common.mini_world import MiniWorld, Source, is_mini_model, source_of
from common.outputs.lines import LineTarget
from common.outputs.targets import check_targets
from common.paths import MINI_LLAVA, display
from common.progress import announce, bar, say
from common.prompts import POPE

PLACE = "{question}"
TRIES = 50  # to draw a thing that an image's captions do not name, before the first one is taken
MOST_COMMON = 2  # answers that are counted at the end


@dataclass
class OwnAnswerArguments:
    """Which questions the model answers."""

    object_data_path: str | None = flag(None, "objects of its captions, from insight/object.py or insight/clip.py")
    image_dir_path: str | None = flag(None, "folder of the images")
    answer_data_path: str | None = flag(None, "where the answers go (JSON Lines)")
    questions_per_image: int = flag(
        2, "questions of each image, in turn about a thing its captions name and about one they do not", least=1
    )
    answer_prompt: str = flag(POPE, "what is asked, {question} in it being the question")


@dataclass
class AnswerArguments(GenerationArguments):
    """How answers are generated: greedy."""

    generate_num_beams: int = flag(1, "beams; 1 is greedy")


@dataclass(frozen=True)
class Asked:
    """One question of one image."""

    key: str
    image: str
    question: str


def wording(name: str) -> str:
    """The question about one thing, in its number."""
    last = name.split()[-1]
    if last.endswith("s") and not last.endswith(("ss", "us")):
        return f"Are there {name} in the image?"
    return f"Is there {'an' if name[:1] in 'aeiou' else 'a'} {name} in the image?"


def named(record: CaptionObjects, vocabulary: ObjectVocabulary) -> list[str]:
    """What a caption names, each thing under one name, in order of appearance."""
    names = (vocabulary.node(m.text) or " ".join(m.text.casefold().split()) for m in record.objects)
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Frequent:
    """Things by how many images name them, to be drawn by that."""

    names: list[str]
    cumulated: list[int]

    @classmethod
    def of(cls, images_of: Mapping[str, int]) -> Frequent:
        """In the order of their names."""
        names = sorted(images_of)
        return cls(names, list(accumulate(images_of[name] for name in names)))

    def other_than(self, left_out: Collection[str], draw: random.Random) -> str | None:
        """One that is not among `left_out`; None if there is no other."""
        for _ in range(TRIES):
            (name,) = draw.choices(self.names, cum_weights=self.cumulated)
            if name not in left_out:
                return name
        return next((name for name in self.names if name not in left_out), None)


def questions_of(
    records: Iterable[CaptionObjects], vocabulary: ObjectVocabulary, per_image: int, seed: int
) -> list[Asked]:
    """Questions about the images of captions with objects, in the order of the images; seeded, each image by itself.

    A thing that captions do not name is drawn by how many images name it, so that it is what might be there.
    Raises DataError if no caption names an object.
    """
    things: dict[str, dict[str, None]] = {}
    for record in records:
        things.setdefault(record.image, {}).update(dict.fromkeys(named(record, vocabulary)))
    images_of = Counter(name for names in things.values() for name in names)
    if not images_of:
        raise DataError("no caption names an object, so there is nothing to ask about")
    frequent = Frequent.of(images_of)
    return [asked for image, names in things.items() for asked in _about(image, names, frequent, per_image, seed)]


def _about(image: str, names: Mapping[str, None], frequent: Frequent, per_image: int, seed: int) -> Iterator[Asked]:
    """In turn of what its captions name and of what they do not, as long as there is any."""
    draw = random.Random(f"{seed}/{image}")
    here, gone = draw.sample(sorted(names), len(names)), set(names)
    for number in range(per_image):
        other = None if number % 2 == 0 and here else frequent.other_than(gone, draw)
        name = other or (here.pop() if here else None)
        if name is None:
            return
        gone.add(name)
        yield Asked(f"{image}/{number}", image, wording(name))


def answer(
    model: Any, images: ImageFolder, asked: Sequence[Asked], prompt: str, lines: ResumableLines, how: Any
) -> None:
    """Ask what the file does not answer yet, image by image, and append the answers; `how` are decoding and batch."""
    decoding, batch = how
    groups = [list(group) for _, group in groupby(asked, key=lambda one: one.image)]
    lacking = [[one for one in group if one.key not in lines.done] for group in groups]
    todo = lines.share([group for group in lacking if group], [one.key for one in asked])
    texts = {one.key: prompt.replace(PLACE, one.question) for group in todo for one in group}
    requests = [
        Request(g[0].image, tuple(model.format_prompt(texts[o.key]) for o in g), tuple(o.key for o in g)) for g in todo
    ]
    said = ask(model, images, requests, decoding, batch)
    for group, answers in bar(zip(todo, said, strict=True), "answers", len(todo), unit="img"):
        found = zip(group, answers or (), strict=False)
        lines.write(answer_to_json(Answer(o.key, text.strip(), texts[o.key], "", o.image)) for o, text in found)
        images.check_losses(len({one.image for one in asked}))


@dataclass(frozen=True)
class Places:
    """Files of a run, resolved."""

    objects: Source
    images: Source
    answers: Path

    @classmethod
    def of(cls, args: OwnAnswerArguments, mini: bool) -> Places:
        """As given, or the mini world's. Raises DataError, ArgumentError for what is missing."""
        world = MiniWorld()
        all_mini = mini and args.object_data_path is None and args.image_dir_path is None
        if args.answer_data_path is None and not all_mini:
            raise ArgumentError("--answer_data_path is needed with data of your own: where shall the answers go?")
        if args.object_data_path is None and not mini:
            raise ArgumentError(
                "--object_data_path is needed: which things are asked about (insight/object.py finds them)"
            )
        objects = source_of(args.object_data_path, mini, world.objects, "--object_data_path")
        images = source_of(args.image_dir_path, mini, world.train_images, "--image_dir_path")
        return cls(objects, images, Path(args.answer_data_path or world.own_answers))

    def target(self, groups: Sequence[Any], restart: bool) -> LineTarget:
        """The answers file, if it may be written; before anything is made for it. Raises ArgumentError, DataError."""
        target = LineTarget(self.answers, "answer_data_path", "insight.answer", _record, _key)
        inputs = {"object_data_path": self.objects.path, "image_dir_path": self.images.path}
        check_targets({target.flag: target.path}, groups, **inputs)
        target.check()
        self.objects.check_result(target.path, restart)
        return target

    def made(self, dry_run: bool) -> tuple[Path, Path]:
        """Objects and images, once they are there. Raises DataError, DryRunEnds."""
        objects = require_file(self.objects.made(dry_run), "--object_data_path")  # before images are drawn
        return objects, self.images.made(dry_run)


def _record(value: Mapping[str, Any], where: str) -> None:
    """Raise DataError unless a record is one of this script."""
    if not all(isinstance(value.get(name), str) for name in ("question_id", "image", "question", "answer")):
        raise DataError(f"{where}: no question_id, image, question and answer")


def _key(value: Mapping[str, Any]) -> str:
    return str(value.get("question_id"))


ARGUMENTS = (ModelArguments, OwnAnswerArguments, AnswerArguments, RunArguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, lay out the questions, ask. Raises UserErrors for what the user can mend."""
    model_args, args, generation, run_args = parse(ARGUMENTS, __doc__ or "", argv, step="answers")
    if PLACE not in args.answer_prompt:
        raise ArgumentError(f"--answer_prompt {args.answer_prompt!r} has no {PLACE}, where the question goes")
    decoding = deterministic_decoding(generation)
    places = Places.of(args, is_mini_model(model_args))
    target = places.target((model_args, args), run_args.restart)
    objects, folder = places.made(run_args.dry_run)
    records = read_objects(objects)
    asked = questions_of(records, read_vocabulary(), args.questions_per_image, run_args.seed)
    asked = asked[run_args.start_pos : run_args.end_pos if run_args.end_pos >= 0 else None]
    if not asked:
        raise ArgumentError("no question is left between --start_pos and --end_pos")
    images = ImageFolder(folder, turn=not model_args.ignore_exif_orientation)
    images.require(one.image for one in asked)
    announce(f"{len(asked)} questions about {len({one.image for one in asked})} images into {display(places.answers)}")
    if run_args.dry_run:
        return
    with target.open(_settings(model_args, args, decoding, asked, images), run_args.restart) as lines:
        _ask(model_args, images, asked, args.answer_prompt, lines, (decoding, generation.infer_bs))
        if not lines.gather(images.lost):
            return
        images.check_losses(len({one.image for one in asked}))
        path = MINI_LLAVA if is_mini_model(model_args) else model_args.chosen("path")
        checkpoint = model_args.chosen("ckpt_load_path") or None
        groups = (model_args, args, generation, run_args)
        source = inputs_identity(objects=objects)
        lines.finish(manifest(groups, model=path, checkpoint=checkpoint, questions=len(asked), **source))
    said = Counter(value["answer"] for _, value in read_json_lines(places.answers))
    common = ", ".join(f"{number} '{text}'" for text, number in said.most_common(MOST_COMMON))
    say(f"{sum(said.values())} answers in {display(places.answers)}, among them {common}")


def _ask(
    model_args: ModelArguments,
    images: ImageFolder,
    asked: Sequence[Asked],
    prompt: str,
    lines: ResumableLines,
    how: Any,
) -> None:
    """Load the model if there is something to ask."""
    if all(one.key in lines.done for one in asked):
        lines.share([], [one.key for one in asked])
        return
    from common.models import load_from_args

    model = load_from_args(model_args)
    images.reduced = model.reduced
    answer(model, images, asked, prompt, lines, how)


def _settings(
    model_args: ModelArguments,
    args: OwnAnswerArguments,
    decoding: Mapping[str, Any],
    asked: Sequence[Asked],
    images: ImageFolder,
) -> dict[str, Any]:
    """Whatever changes the answers."""
    from common.models.resolve import resolve_device, resolve_dtype

    dtype = resolve_dtype(model_args.dtype, resolve_device(model_args.device))
    options = {
        "prompt": args.answer_prompt,
        "decoding": dict(decoding),
        "questions_sha256": values_hash((one.key, one.question) for one in asked),
    }
    names = sorted({one.image for one in asked})
    return identity(options, model_identity(model_args, str(dtype)), images_identity(images.path, names))


if __name__ == "__main__":
    run(main)
