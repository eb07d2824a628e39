"""Objects in captions: which concrete things does a caption name, and where in the text?

    python insight/object.py                                 # the built-in mini world
    python insight/object.py --caption_data_path captions.jsonl --object_data_path objects.jsonl
    python insight/object.py ... --extractor llm --extractor_model PATH

Writes one JSON line a caption: `{"image", "image_id", "caption", "objects": [{"text", "start", "end", "score"}]}`,
with every mention in order of appearance (a thing named twice stands there twice) and `score` null until
`insight/clip.py` has run. A blank caption, which a model may produce, gets a record without objects. Resumable: a
killed run started again ends with the same file, byte for byte.

Raises (as one line, exit code 2): no such file; malformed or repeated captions; a result that was begun from
other captions or with another extractor; an unknown extractor, or one whose model is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import RunArguments, flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.record_files import caption_key, objects_from_json, objects_to_json, read_captions, read_objects
from common.files.records import Caption, CaptionObjects
from common.files.storage import ResumableLines, read_json_lines, require_file
from common.identity import inputs_identity
from common.manifest import manifest
from common.mini_world import MiniWorld, Source, source_of
from common.objects.extractors import EXTRACTORS, ObjectExtractor, build_extractor
from common.objects.llm_extractor import extractor_files
from common.objects.noted import KEY, LONGEST_ANSWER, NotedExtractor
from common.objects.parallel import Found, extracted
from common.outputs.lines import LineTarget
from common.outputs.targets import check_targets
from common.paths import display
from common.processes import usable_cores
from common.progress import announce, bar, batches, say

BATCH = 64  # captions that are parsed together; the same in a continued run and for any number of processes
LONGEST = 100_000  # characters of a caption; spaCy takes about a gigabyte for so many, and refuses a million
SPEED = {"spacy": 150.0, "llm": 1.0}  # captions a second, on one core and on one GPU (7B), for the announcement


@dataclass
class ObjectArguments:
    """Without --caption_data_path both files are the mini world's."""

    caption_data_path: str | None = flag(None, "captions, from insight/caption.py")
    object_data_path: str | None = flag(None, "where the objects go (JSON Lines)")
    extractor: str = flag("spacy", "spacy: noun phrases, no GPU; llm: a causal language model", EXTRACTORS)
    extractor_model: str | None = flag(None, "folder or hub name of the language model, for --extractor llm")
    extractor_max_new_tokens: int = flag(LONGEST_ANSWER, "longest answer of the language model, in tokens")
    device: str = flag("auto", "of the language model: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one")

    def paths(self) -> tuple[Source, Path]:
        """Captions and objects file. Raises DataError for captions of one's own without a place for the objects."""
        mini = self.caption_data_path is None
        if mini:
            announce("no --caption_data_path: using the built-in mini world")
        captions = source_of(self.caption_data_path, mini, MiniWorld().captions, "--caption_data_path")
        if self.object_data_path is not None:
            return captions, Path(self.object_data_path)
        if not mini:
            raise DataError("--object_data_path is needed with captions of your own: where shall the objects go?")
        return captions, MiniWorld().objects

    def processes(self) -> int:
        """As many as pay: every core for spaCy; a language model is asked by one."""
        return usable_cores() if self.extractor == "spacy" else 1

    def noted(self) -> NotedExtractor:
        """The extractor; what a continued run must have in common with the one that began it."""
        return NotedExtractor.of(self.extractor, self.extractor_model, self.extractor_max_new_tokens)


def selected(captions: Sequence[Caption], args: RunArguments, path: Path) -> list[Caption]:
    """Captions from `start_pos` to `end_pos`. Raises ArgumentError if none is left."""
    end = len(captions) if args.end_pos < 0 else args.end_pos
    chosen = list(captions[args.start_pos : end])
    if not chosen:
        raise ArgumentError(
            f"--start_pos {args.start_pos} --end_pos {args.end_pos} leave none of the {len(captions)} captions "
            f"of {display(path)}"
        )
    return chosen


def check_lengths(captions: Sequence[Caption], path: Path) -> None:
    """Raise DataError for a caption that is too long to be parsed (spaCy's memory grows with it, without need)."""
    for caption in captions:
        if len(caption.caption) > LONGEST:
            raise DataError(
                f"{display(path)}: the caption of image {caption.image} has {len(caption.caption)} characters, at most "
                f"{LONGEST} are parsed; cut it or leave it out"
            )


def check_begun(path: Path, captions: Sequence[Caption]) -> None:
    """Raise DataError if an existing result holds other captions than these."""
    texts = {caption.key: caption.caption for caption in captions}
    if not path.stat().st_size:
        return  # all that is done lies in parts, which the settings speak for
    for number, value in read_json_lines(path, whole_lines=True):  # the last one may be torn
        record = objects_from_json(value, f"{display(path)}:{number}")
        if texts.get(record.key) != record.caption:
            raise DataError(
                f"{display(path)} was begun from other captions (image {record.image}); add --restart to begin anew, "
                "or choose another --object_data_path"
            )


def objects_of(captions: Sequence[Caption], found: Found) -> list[CaptionObjects]:
    """Object records of some captions, in their order."""
    return [
        CaptionObjects(caption.image, caption.image_id, caption.caption, mentions, caption.sample)
        for caption, mentions in zip(captions, found, strict=True)
    ]


def extract_to_file(
    captions: Sequence[Caption],
    extractor: ObjectExtractor,
    lines: ResumableLines,
    batch_size: int = BATCH,
    processes: int = 1,
) -> None:
    """Append the objects of every caption that the file does not hold yet."""
    todo = [b for b in batches(list(captions), batch_size) if any(c.key not in lines.done for c in b)]
    done = sum(c.key in lines.done for c in captions)
    todo = lines.share(todo, [c.key for c in captions])
    found = extracted(extractor, [[c.caption for c in batch] for batch in todo], processes)
    for batch, mentions in bar(zip(todo, found, strict=True), "objects", len(todo), unit="batch"):
        records = objects_of(batch, mentions)
        lines.write(objects_to_json(record) for record in records if record.key not in lines.done)
    announce(f"{len(captions) - done} captions done now, {done} before")


def counts(path: Path) -> Mapping[str, int]:
    """Captions, captions without an object, mentions and distinct objects of a result."""
    records = read_objects(path)
    mentions = [mention.text.lower() for record in records for mention in record.objects]
    return {
        "captions": len(records),
        "captions_without_object": sum(not record.objects for record in records),
        "mentions": len(mentions),
        "distinct_objects": len(set(mentions)),
    }


def checked_target(args: ObjectArguments, captions: Source, target: Path, restart: bool) -> LineTarget:
    """The objects file, if it may be written; before anything is made for it. Raises ArgumentError, DataError."""
    check_targets({"object_data_path": target}, [args], caption_data_path=captions.path)
    output = LineTarget(target, "object_data_path", "insight.object", objects_from_json, caption_key)
    output.check()
    captions.check_result(target, restart)
    return output


ARGUMENTS = (ObjectArguments, RunArguments)


def main() -> None:
    """Parse, extract, write the manifest."""
    args, run_args = parse(ARGUMENTS, __doc__ or "", step="objects")
    captions_file, target = args.paths()
    output = checked_target(args, captions_file, target, run_args.restart)
    source = captions_file.made(run_args.dry_run)
    captions = read_captions(require_file(source, "--caption_data_path"), allow_empty=True)
    chosen = selected(captions, run_args, source)
    check_lengths(chosen, source)
    processes = args.processes()
    minutes = len(chosen) / SPEED.get(args.extractor, 1.0) / processes / 60
    announce(
        f"{len(chosen)} captions, extractor {args.extractor} in {processes} process{'es' * (processes > 1)}: "
        f"about {minutes:.1f} minutes if none is done yet"
    )
    if run_args.dry_run:
        return
    extractor = build_extractor(args.extractor, args.extractor_model, args.device, args.extractor_max_new_tokens)
    with output.open(args.noted().to_json(), run_args.restart) as lines:
        if lines.done:
            check_begun(target, captions)
        extract_to_file(chosen, extractor, lines, processes=processes)
        if not lines.gather():
            return
        found = counts(target)
        model = extractor_files(args.extractor_model) if args.extractor_model else None
        ids = {caption.image_id for caption in chosen}
        noted = {KEY: args.noted().to_json(), **inputs_identity(captions=source)}
        lines.finish(manifest([args, run_args], model=model, image_ids=ids, counts=found, **noted))
    numbers = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in found.items())
    say(f"{numbers} in {display(target)}")


if __name__ == "__main__":
    run(main)
