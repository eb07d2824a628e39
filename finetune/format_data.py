"""From scored objects to the training files: `pos_neg.json`, `sentences.json` (published layout), `repaired.json`.

    python finetune/format_data.py                           # the built-in mini world
    python finetune/format_data.py --score_data_path scores.jsonl --pos_neg_data_path pos_neg.json \\
        --sentence_data_path sentences.json

`pos_neg.json` holds every sub-sentence that names an object, once: context `sentence[:position]`, target
`sentence[position:]`, and a score; training cuts it at the thresholds. `sentences.json` holds every caption that names
an object, with the mean and the least score. How a span with several objects is scored: `common/samples/sets.py`.
`repaired.json`, in the layout of `sentences.json`, holds captions from which everything below the hallucinated
threshold is cut out (`finetune/samples/repair.py`). Of a published set, which has no scored objects, it is made with

    python finetune/format_data.py --repair --pos_neg_data_path pos_neg.json --sentence_data_path sentences.json \\
        --repaired_data_path repaired.json

`--agreement true`, where images have several captions (three or more are best), scores each thing by how many of the
others name it as well (`finetune/samples/agreement.py`); `--unlearn_target opened` begins a span with its sentence
where nothing is named before it; `--repeats unlearn` counts what a caption introduces again as hallucinated
(`finetune/samples/repeats.py`); `--whole_captions best` keeps of each image's captions, repaired or not, those that are
best learnt whole (`finetune/samples/best.py`).

The manifests beside `pos_neg.json` and `repaired.json` note the thresholds and the counts at each filter. Other
thresholds at training time are fine, but conflicts and repairs were decided at those noted.

Raises (as one line, exit code 2): no such file; malformed lines; objects without a score; thresholds in the wrong
order, or `auto` without a manifest beside the scores; a set that is empty after filtering; `--agreement` with one
caption an image, or where scores do not rise with it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.args import ThresholdArguments, flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.contents import file_hash
from common.files.record_files import read_sentence_samples, read_span_samples, write_samples
from common.files.records import CaptionObjects
from common.files.storage import require_file
from common.files.vocabulary import read_vocabulary
from common.manifest import manifest, manifest_path, noted_beside, write_manifest
from common.mini_world import MiniWorld, source_of
from common.objects.noted import KEY as EXTRACTOR
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.paths import display
from common.progress import announce, say
from common.relevance.noted import KEY as SCORER
from common.samples.scored import read_scored
from common.samples.sets import SUBSENTENCE, TARGETS, Samples, build_samples
from common.thresholds import FLAGS, Thresholds, noted_for, resolve
from finetune.samples.agreement import agreed
from finetune.samples.best import best_of_images
from finetune.samples.repair import RepairedSet, build_repaired, gathered, names_low, repair_sets
from finetune.samples.repeats import repeats_lowered

KEEP, UNLEARN = "keep", "unlearn"
REPEATS = (KEEP, UNLEARN)
ALL, BEST = "all", "best"
WHOLE = (ALL, BEST)
OWN = "with scores of your own: where shall the result go?"


class Sets(NamedTuple):
    """Where the samples are."""

    spans: Path
    sentences: Path
    repaired: Path


@dataclass
class FormatArguments:
    """Without --score_data_path all files are the mini world's."""

    score_data_path: str | None = flag(None, "objects with scores, from insight/clip.py")
    pos_neg_data_path: str | None = flag(None, "where the spans go (JSON)")
    sentence_data_path: str | None = flag(None, "where the whole captions go (JSON)")
    repaired_data_path: str | None = flag(None, "where repaired captions go; default repaired.json beside the spans")
    repair: bool = flag(False, "only make the repaired captions, of the two files of a published set")
    agreement: bool = flag(False, "score things also by how many of the image's other captions name them")
    repeats: str = flag(
        KEEP, "unlearn: what a caption introduces again (a dog ... a dog) counts as hallucinated", REPEATS
    )
    whole_captions: str = flag(
        ALL, "best: of each image only those are learnt whole that name nothing twice and most of what is there", WHOLE
    )
    unlearn_target: str = flag(
        SUBSENTENCE,
        "what is unlearnt: the sub-sentence, with or without what opens its sentence, or only the object's words",
        TARGETS,
    )
    dry_run: bool = flag(False, "check the input, say what the sets would be, and stop")

    @property
    def mini(self) -> bool:
        """Whether the scores are the mini world's."""
        return self.score_data_path is None and not self.repair

    def sets(self) -> Sets:
        """The files of the samples. Raises DataError if one is needed and not given."""
        world = MiniWorld()
        why = "with --repair: which published file is to be read?" if self.repair else OWN
        spans = _target(self.pos_neg_data_path, self.mini, world.pos_neg, "--pos_neg_data_path", why)
        sentences = _target(self.sentence_data_path, self.mini, world.sentences, "--sentence_data_path", why)
        return Sets(spans, sentences, Path(self.repaired_data_path or spans.with_name(world.repaired.name)))


def _target(given: str | None, mini: bool, default: Path, name: str, why: str) -> Path:
    if given is None and not mini:
        raise DataError(f"{name} is needed {why}")
    return default if given is None else Path(given)


def check_sets(samples: Samples, cut: Thresholds, path: Path, scores: Sequence[float]) -> None:
    """Raise DataError, with the counts at each filter and where the scores lie, if a set is empty."""
    counts = samples.counts
    limits = {
        "positives": f"score above {cut.grounded:g}",
        "negatives": f"score below {cut.hallucinated:g}",
        "sentences": f"mean above {cut.sentence:g} and least above {cut.hallucinated:g}",
    }
    for name, limit in limits.items():
        if getattr(counts, name) == 0:
            raise DataError(
                f"no {name} ({limit}) are left of {display(path)}: {counts.line()}; {advice(cut, path, scores)}"
            )


def advice(cut: Thresholds, path: Path, scores: Sequence[float]) -> str:
    """What to do about an empty set; never what has just led to it."""
    noted, _ = noted_for(path)
    if len(noted) == len(FLAGS) and Thresholds(**noted) != cut:
        return f"leave out the threshold flags: {manifest_path(path).name} has those placed on these scores"
    if not scores:
        return "no caption names an object; mine others, or extract their objects with another --extractor"
    low, middle, high = (f"{value:.4g}" for value in np.quantile(scores, (0.1, 0.5, 0.9)))
    return f"scores: a tenth below {low}, half below {middle}, a tenth above {high}; give thresholds that part them"


def write(samples: Samples, repaired: RepairedSet, sets: Sets, notes: dict[str, Any]) -> None:
    """Write the three files, each at once, then their manifests, which say that all three are of one call."""
    for path in sets:
        manifest_path(path).unlink(missing_ok=True)
    write_samples(sets.spans, samples.spans)
    write_samples(sets.sentences, samples.sentences)
    write_samples(sets.repaired, repaired.samples)
    write_manifest(sets.repaired, notes | {"counts": asdict(repaired.counts)})
    write_manifest(sets.sentences, notes | {"counts": asdict(samples.counts)})
    write_manifest(sets.spans, notes | {"counts": asdict(samples.counts), "repaired": asdict(repaired.counts)})


def targets(args: FormatArguments, sets: Sets, **inputs: Path) -> list[WholeTarget]:
    """The files to write, if they may be written; the sets themselves are inputs of --repair.

    Raises ArgumentError, DataError.
    """
    readers = (read_span_samples, read_sentence_samples, read_sentence_samples)
    flags = ("pos_neg_data_path", "sentence_data_path", "repaired_data_path")
    all_of_them = [
        WholeTarget(path, name, "finetune.format_data", read, needs_note=True, noted_by=sets.spans)
        for path, name, read in zip(sets, flags, readers, strict=True)
    ]
    wanted = all_of_them[-1:] if args.repair else all_of_them
    if args.repair:
        inputs |= {"pos_neg_data_path": sets.spans, "sentence_data_path": sets.sentences}
    check_targets({target.flag: target.path for target in wanted}, [args], **inputs)
    for target in wanted:
        target.check()
    return wanted


def repair_published(args: FormatArguments, thresholds: ThresholdArguments) -> None:
    """Repaired captions of the two files of a published set: whole sentences are cut, as objects stand nowhere."""
    scored = {
        "--agreement": args.agreement,
        "--repeats": args.repeats != KEEP,
        "--whole_captions": args.whole_captions != ALL,
        "--unlearn_target": args.unlearn_target != SUBSENTENCE,
    }
    for name in (name for name, given in scored.items() if given):
        raise ArgumentError(f"{name} needs scored objects, which a published set has not; leave it out with --repair")
    if args.score_data_path is not None:
        raise ArgumentError("--repair makes repaired captions without scores; leave out --score_data_path, or --repair")
    sets = args.sets()
    outputs = targets(args, sets)
    spans = read_span_samples(require_file(sets.spans, "--pos_neg_data_path"))
    sentences = read_sentence_samples(require_file(sets.sentences, "--sentence_data_path"))
    cut = resolve(thresholds, sets.spans, mini=False)
    repaired = repair_sets(spans, sentences, cut)
    if not repaired.samples:
        raise DataError(f"no caption of {display(sets.sentences)} could be repaired: {repaired.counts.line()}")
    if not args.dry_run:
        with taken(outputs):
            manifest_path(sets.repaired).unlink(missing_ok=True)
            write_samples(sets.repaired, repaired.samples)
            notes = manifest(
                [args, thresholds],
                thresholds=asdict(cut),
                counts=asdict(repaired.counts),
                spans_sha256=file_hash([sets.spans]),
            )
            write_manifest(sets.repaired, notes)
    say(f"{repaired.counts.line()}; {display(sets.repaired)}")


def build(records: Sequence[CaptionObjects], cut: Thresholds, args: FormatArguments) -> tuple[Samples, RepairedSet]:
    """Spans of all captions; whole and repaired captions of all, or of the best of each image."""
    samples = build_samples(records, cut, args.unlearn_target)
    if args.whole_captions == ALL:
        return samples, build_repaired(records, cut)
    best = best_of_images(records, cut, read_vocabulary())
    say(f"{len(best)} captions of {len({record.image for record, _ in best})} images are the best of their images")
    whole = build_samples([record for record, _ in best], cut)
    counts = replace(samples.counts, captions_with_objects=len(whole.sentences), sentences=whole.counts.sentences)
    return Samples(samples.spans, whole.sentences, counts), gathered(pair for pair in best if names_low(pair[0], cut))


ARGUMENTS = (FormatArguments, ThresholdArguments)


def main() -> None:
    """Parse, build, check, write."""
    args, thresholds = parse(ARGUMENTS, __doc__ or "", step="format")
    if args.repair:
        repair_published(args, thresholds)
        return
    if args.mini:
        announce("no --score_data_path: using the built-in mini world")
    source = source_of(args.score_data_path, args.mini, MiniWorld().scores, "--score_data_path")
    sets = args.sets()
    outputs = targets(args, sets, score_data_path=source.path)
    scores = source.made(args.dry_run)
    records = read_scored(require_file(scores, "--score_data_path"))
    cut = resolve(thresholds, scores, args.mini)
    announce(f"{len(records)} captions, hallucinated below {cut.hallucinated:g}, grounded above {cut.grounded:g}")
    kinds = None
    if args.agreement:
        records, kinds = agreed(records, cut, read_vocabulary())
        say(kinds.line())
    if args.repeats == UNLEARN:
        records, again = repeats_lowered(records, cut, read_vocabulary())
        say(f"{again} things are introduced again and count as hallucinated")
    samples, repaired = build(records, cut, args)
    check_sets(samples, cut, scores, [m.score for r in records for m in r.objects if m.score is not None])
    if not args.dry_run:
        notes = manifest(
            [args, thresholds],
            image_ids={record.image_id for record in records},
            thresholds=asdict(cut),
            clip_model=noted_for(scores)[1],
            agreement=kinds.notes() if kinds else None,
            repeats=args.repeats,
            scores_sha256=file_hash([scores]),
            **{key: value for key, value in noted_beside(scores).items() if key in (SCORER, EXTRACTOR)},
        )
        with taken(outputs):
            write(samples, repaired, sets, notes)
    say(f"{samples.counts.line()}; {display(sets.spans)}, {display(sets.sentences)}")
    say(f"{repaired.counts.line()}; {display(sets.repaired)}")


if __name__ == "__main__":
    run(main)
