"""Image relevance of every object of every caption, by open_clip.

    python insight/clip.py                                   # the built-in mini world
    python insight/clip.py --object_data_path objects.jsonl --image_dir_path train2014 --score_data_path scores.jsonl

Reads the objects that `insight/object.py` wrote, fills in `score`, and writes the same records. Prints how the scores
spread and, where annotations are given, how well they tell present from hallucinated objects; draws both densities.
Resumable: a killed run started again ends with the same file, byte for byte. Errors: see `insight/README.md`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.args import RunArguments, ThresholdArguments, parse
from common.cli import run
from common.errors import DataError
from common.files.gold import Truth, read_truth
from common.files.images import ImageFolder
from common.files.record_files import caption_key, objects_from_json, read_captions, read_objects
from common.files.records import CaptionObjects
from common.files.storage import require_file
from common.files.vocabulary import ObjectVocabulary, read_vocabulary
from common.identity import companions_hash, content_hash, identity, images_identity, inputs_identity
from common.manifest import manifest, model_hash
from common.objects.noted import KEY as EXTRACTOR
from common.objects.noted import extractor_of_objects
from common.outputs.lines import LineOutput, LineTarget
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.paths import display
from common.processes import is_first
from common.progress import announce, say
from common.relevance.noted import KEY as SCORER
from common.relevance.noted import NotedScorer, preprocessing_of
from common.relevance.scoring import MOST_WORDS, RelevanceJob, without_unscorable
from common.thresholds import question
from insight.scores.auto_thresholds import all_scores, caption_scores, check_thresholds, resolve_thresholds
from insight.scores.clip_arguments import ClipArguments, ClipPlan, plan
from insight.scores.detector_quality import LabelledScores, label_scores
from insight.scores.score_report import ScoreReport


def read_input(args: ClipArguments, chosen: ClipPlan) -> tuple[list[CaptionObjects], int]:
    """Records with scorable objects, and the number of objects that were dropped as too long.

    Raises DataError: malformed file, a caption twice, or no object at all.
    """
    captions = (
        read_captions(require_file(args.caption_data_path, "--caption_data_path"), allow_empty=True)
        if args.caption_data_path
        else None
    )
    records = read_objects(chosen.objects, captions)
    key, times = Counter(r.key for r in records).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{display(chosen.objects)} (from --object_data_path): caption {key} (image id / sample) stands there "
            f"{times} times; remove the repetition or number the captions with a 'sample' field"
        )
    records, dropped = without_unscorable(records)
    if not any(r.objects for r in records):
        raise DataError(
            f"{display(chosen.objects)} (from --object_data_path): no object to score in {len(records)} captions "
            f"({dropped} dropped because they are empty or longer than {MOST_WORDS} words); extract objects first"
        )
    return records, dropped


def settings(args: ClipArguments, chosen: ClipPlan, names: Sequence[str]) -> dict[str, Any]:
    """Whatever changes the scores."""
    from common.relevance.clip_scorer import local_folder

    folder = local_folder(chosen.model)
    options = {
        **asdict(args.settings()),
        "ignore_exif_orientation": args.ignore_exif_orientation,
        "clip_model": chosen.model,
        "clip_pretrained": chosen.pretrained,
        "clip_pretrained_hash": content_hash(chosen.pretrained),
        **{f"clip_{name}": value for name, value in (preprocessing_of(folder) or {}).items()},
        "model_hash": model_hash(folder),
        "model_files": companions_hash(folder),
        "clip_bs": args.clip_bs,
        "clip_dtype": args.device_and_dtype()[1],
    }
    return identity(options, inputs_identity(objects=chosen.objects), images_identity(chosen.images, names))


def score(
    args: ClipArguments, run_args: RunArguments, chosen: ClipPlan, records: Sequence[CaptionObjects], out: LineOutput
) -> ImageFolder | None:
    """Load the model, score what is not in the score file yet, and return the images with their losses.

    None in all processes of a launch but the first.
    """
    from common.relevance.clip_scorer import load_scorer

    images = ImageFolder(chosen.images, turn=not args.ignore_exif_orientation)
    device, dtype = args.device_and_dtype()
    scorer = load_scorer(chosen.model, chosen.pretrained, device, dtype)
    job = RelevanceJob(scorer, images, args.settings(), args.clip_bs, device)
    job.run(records, out, run_args.start_pos, run_args.end_pos)
    if not out.gather(images.lost):
        return None
    images.check_losses(len({r.image for r in records}))
    if images.lost:
        announce(f"{len(images.lost)} images could not be read; their captions are left out (see the manifest)")
    return images


def outputs(args: ClipArguments, chosen: ClipPlan, restart: bool) -> tuple[LineTarget, WholeTarget]:
    """Scores and figure, if they may be written; before anything is made for them. Raises ArgumentError, DataError."""
    from insight.scores.density_figure import recognise

    check_targets(
        {"score_data_path": chosen.scores, "figure_path": chosen.figure},
        [args],
        object_data_path=chosen.objects,
        image_dir_path=chosen.images,
    )
    scores = LineTarget(chosen.scores, "score_data_path", "insight.clip", objects_from_json, caption_key)
    figure = WholeTarget(chosen.figure, "figure_path", "insight.clip", recognise)
    scores.check()
    figure.check()
    chosen.sources[0].check_result(chosen.scores, restart)
    return scores, figure


@dataclass(frozen=True)
class Judge:
    """What the scores are judged by.

    Attributes:
        truth: objects of the images (none: no judgement).
        vocabulary: maps phrases to them.
        half: how many of the images lack captions, or instances.
    """

    truth: Truth
    vocabulary: ObjectVocabulary
    half: Mapping[str, int]

    def label(self, records: Sequence[CaptionObjects]) -> LabelledScores:
        """Scores of the mentions whose truth is known."""
        known = self.truth.known
        named = [replace(r, image_id=known.resolve(r.image, r.image_id)) for r in records]
        return label_scores(named, self.truth.objects, self.vocabulary)


def read_judge(args: ClipArguments, chosen: ClipPlan, records: Sequence[CaptionObjects]) -> Judge:
    """Gold objects and synonyms; read before the scoring, so that a wrong path costs no time. Raises DataError."""
    vocabulary = read_vocabulary(args.synonyms_path)
    truth = read_truth(chosen.annotations, args.gold_objects_path, vocabulary)
    half = truth.half({truth.known.resolve(r.image, r.image_id) for r in records}, args.allow_partial_truth)
    for what, number in half.items():
        announce(f"{number} images have no {what}: objects that only these would name count as hallucinated")
    return Judge(truth, vocabulary, half)


def report(thresholds: ThresholdArguments, chosen: ClipPlan, judge: Judge) -> ScoreReport:
    """Thresholds, labels and quality of the scores that are in the score file."""
    scored = read_objects(chosen.scores)
    cut = resolve_thresholds(thresholds, scored, chosen.mini)
    question(cut, chosen.model, {})
    return ScoreReport(
        scores=all_scores(scored),
        captions=caption_scores(scored),
        labelled=judge.label(scored),
        thresholds=cut,
    )


def announce_cost(records: Sequence[CaptionObjects], dropped: int, chosen: ClipPlan) -> Mapping[str, int]:
    """Say what is to be done before anything slow starts, and return the counts."""
    texts = {m.text.lower() for r in records for m in r.objects}
    counts: Mapping[str, int] = {
        "captions": len(records),
        "images": len({r.image for r in records}),
        "objects": sum(len(r.objects) for r in records),
        "dropped_objects": dropped,
    }
    announce(
        f"scoring {counts['objects']} objects ({len(texts)} distinct) of {len(records)} captions on {counts['images']} "
        f"images with {chosen.model}; {dropped} empty or longer than {MOST_WORDS} words left out"
    )
    return counts


ARGUMENTS = (ClipArguments, ThresholdArguments, RunArguments)


def main() -> None:
    """Parse, score, report. Raises UserErrors for everything that the user can mend."""
    from insight.scores.density_figure import draw

    args, thresholds, run_args = parse(ARGUMENTS, __doc__ or "", step="score")
    args.settings()
    check_thresholds(thresholds, args.object_data_path is None)
    chosen = plan(args)
    scores, figure = outputs(args, chosen, run_args.restart)
    chosen.make(run_args.dry_run)
    records, dropped = read_input(args, chosen)
    judge = read_judge(args, chosen, records)
    counts = announce_cost(records, dropped, chosen)
    if run_args.dry_run:
        return
    names = list(dict.fromkeys(r.image for r in records))
    ImageFolder(chosen.images).require(names)
    with scores.open(settings(args, chosen, names), run_args.restart) as out, taken([figure] if is_first() else []):
        images = score(args, run_args, chosen, records, out)
        if images is None:
            return
        found = report(thresholds, chosen, judge)
        draw(chosen.figure, found.scores, found.labelled, found.thresholds)
        groups = (args, thresholds, run_args)
        out.finish(result_manifest(groups, chosen, records, images, counts, found, judge.half))
    say("\n".join([*found.lines(), f"{display(chosen.scores)}  {display(chosen.figure)}"]))


def result_manifest(
    groups: Sequence[Any],
    chosen: ClipPlan,
    records: Sequence[CaptionObjects],
    images: ImageFolder,
    counts: Mapping[str, int],
    found: ScoreReport,
    half: Mapping[str, int],
) -> dict[str, Any]:
    """The manifest beside the scores; `thresholds` in it is what `finetune/format_data.py` takes for `auto`."""
    from common.relevance.clip_scorer import local_folder

    args: ClipArguments = groups[0]
    extractor = extractor_of_objects(chosen.objects)
    noted: dict[str, Any] = {SCORER: asdict(NotedScorer.of(chosen.model, chosen.pretrained, args.settings()))}
    noted |= {EXTRACTOR: extractor.to_json()} if extractor else {}
    return manifest(
        groups,
        model=local_folder(chosen.model),
        image_ids={r.image_id for r in records},
        lost_images=images.lost,
        clip_model=chosen.model,
        clip_pretrained=chosen.pretrained,
        input_counts=dict(counts),
        partial_truth=dict(half),
        **noted,
        **found.to_json(),
    )


if __name__ == "__main__":
    run(main)
