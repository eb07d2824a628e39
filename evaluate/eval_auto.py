"""Hallucination and text scores of a caption file: CHAIR_S, CHAIR_I, recall, repetition, words, BLEU, distinct.

python evaluate/eval_auto.py                                     # the mini world's captions
python evaluate/eval_auto.py --caption_eval_path captions.jsonl --annotation_path coco/annotations
python evaluate/eval_auto.py --caption_eval_path captions.jsonl --gold_objects_path objects.json
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.args import flag, parse, seed_flag
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.coco import CocoAnnotations, read_annotations
from common.files.gold import Truth, missing_images, truth_from_file
from common.files.image_ids import KnownImages
from common.files.places import PUBLISHED, placed
from common.files.record_files import read_captions
from common.files.records import Caption, Result
from common.files.storage import read_record, require_file
from common.manifest import manifest, manifest_path
from common.mini_world import MiniWorld, default_path
from common.paths import MINI_LLAVA, display
from common.progress import announce
from evaluate.chair.gold_cache import truth_of_folder
from evaluate.chair.parser import ChairParser
from evaluate.chair.synonyms import MODES
from evaluate.metrics import paper
from evaluate.perplexity import load_judge, perplexity
from evaluate.results.caption_scoring import score_captions
from evaluate.results.outputs import check_outputs
from evaluate.results.run_files import RESULTS, check_name
from evaluate.results.scoring import publish
from evaluate.tagger.nltk_tagger import POS_TAGGERS, PosTagger, tagger_of


@dataclass
class AutoArguments:
    """What to score against what. Without paths, the mini world."""

    caption_eval_path: str | None = flag(None, "captions to score (JSON Lines, JSON list or 'name ### caption')")
    annotation_path: str | None = flag(None, "folder of COCO instances and captions; several files are read together")
    gold_objects_path: str | None = flag(None, "JSON file 'image id': [object names] in place of annotations")
    chair_mode: str = flag("standard", "standard: the field's CHAIR; paper: EFUF's variant", MODES)
    pos_tagger: PosTagger = flag(  # noqa: RUF009 (flag makes a field)
        "bundled", "word classes in standard mode; nltk: by NLTK's own data, if installed", POS_TAGGERS
    )
    synonyms_path: str | None = flag(None, "synonym list in place of the mode's own")
    allow_partial_truth: bool = flag(
        False, "score images of which only instances, or only human captions, are known; the result says so"
    )
    allow_missing: bool = flag(False, "leave out captions of images without ground truth instead of refusing")
    result_path: str | None = flag(None, "where to write the scores as JSON")
    run_name: str | None = flag(None, "names the file of the scores where --result_path does not, in results/")
    ppl_model: str | None = flag(
        None, "causal LM (folder or hub name) under which to measure perplexity; mini world: mini-llava"
    )
    seed: int = seed_flag("seed of the bootstrap")


def read_evaluated(path: Path) -> list[Caption]:
    """Captions to score. A blank one, which a model may produce, counts as a caption that names nothing.

    Raises DataError for a malformed file, and if all captions are blank.
    """
    captions = read_captions(path, allow_empty=True)
    blank = sum(not c.caption.strip() for c in captions)
    if blank == len(captions):
        raise DataError(f"all {blank} captions of {display(path)} are blank; caption the images again")
    if blank:
        announce(f"{blank} of {len(captions)} captions are blank; each counts as one that names no object")
    return captions


def ground_truth(args: AutoArguments, parser: ChairParser, captions: Sequence[Caption]) -> Truth:
    """Objects and reference captions by image id, and the images by the names that the data state."""
    if args.gold_objects_path is not None:
        annotations = read_annotations(args.annotation_path) if args.annotation_path else CocoAnnotations()
        truth = truth_from_file(args.gold_objects_path, parser, annotations.known if args.annotation_path else None)
        return replace(truth, references=annotations.captions)
    mini = args.caption_eval_path is None
    folder = default_path(args.annotation_path, mini, MiniWorld().eval_annotations, "--annotation_path")

    def wanted(known: KnownImages) -> set[int]:
        """Ids of the captioned images."""
        return {known.resolve(c.image, c.image_id) for c in captions}

    return truth_of_folder(folder, parser.lists.mode, args.synonyms_path, wanted, args.pos_tagger)


def by_stated_names(captions: Sequence[Caption], known: KnownImages) -> list[Caption]:
    """The captions with the ids that the truth states for their images. Raises DataError for two captions of one."""
    found = [replace(c, image_id=known.resolve(c.image, c.image_id)) for c in captions]
    first: dict[str, Caption] = {}
    for caption in found:
        other = first.setdefault(caption.key, caption)
        if other is not caption:
            raise DataError(f"captions of {other.image} and {caption.image} are both of image {caption.image_id}")
    return found


def with_half_truth(result: Result, half: Mapping[str, int]) -> Result:
    """The result with a word on images of which only half of the truth is known, in definition and counts."""
    if not half:
        return result
    said = " and ".join(f"{number} images without {what}" for what, number in half.items())
    counts = {**result.counts} | {f"images_without_{what}": number for what, number in half.items()}
    return replace(result, definition=f"{result.definition}; partial truth: {said}", counts=counts)


def captioning_settings(path: Path) -> dict[str, Any] | None:
    """Prompt and decoding of the captions, from the manifest beside them; None for captions from elsewhere."""
    beside = manifest_path(path)
    value = read_record(beside, dict[str, Any]) if beside.is_file() else {}
    return {name: value[name] for name in ("prompt", "decoding") if name in value} or None


def captioned_by(path: Path) -> dict[str, Any]:
    """Hashes of the model and of the checkpoint over it that the manifest beside the captions notes."""
    beside = manifest_path(path)
    value = read_record(beside, dict[str, Any]) if beside.is_file() else {}
    return {name: value.get(name) for name in ("model_hash", "checkpoint_hash")}


def with_extras(
    result: Result, args: AutoArguments, captions: Sequence[Caption], references: Mapping[int, Sequence[str]]
) -> Result:
    """The result with EFUF's own text scores (paper mode) and perplexity, where asked for."""
    texts = [c.caption for c in captions]
    more: dict[str, float] = {}
    if args.chair_mode == "paper":
        announce(paper.TEXT_NOTE)
        more |= paper.character_bleu(texts, [references.get(c.image_id, ()) for c in captions])
        more |= paper.character_distinct(texts)
    judge = args.ppl_model or (str(MINI_LLAVA) if args.caption_eval_path is None else None)
    if judge is not None:
        more["perplexity"] = perplexity(*load_judge(judge), texts)
    return replace(result, scores={**result.scores, **more})


def _published_annotations() -> str:
    """The published place of the annotations. Raises ArgumentError if nothing lies there."""
    place = placed("annotation_path")
    if place is None:
        raise ArgumentError(
            "--annotation_path or --gold_objects_path is needed with --caption_eval_path, as there is no "
            f"{display(PUBLISHED['annotation_path'][0])}"
        )
    return str(place)


def result_place(args: AutoArguments) -> Path | None:
    """Where the scores go: as given, or named by the run, or the mini world's; None: nowhere."""
    if args.result_path:
        return Path(args.result_path)
    if args.run_name:
        check_name(args.run_name)
        return RESULTS / "captions" / f"{args.run_name}.json"
    return MiniWorld().result if args.caption_eval_path is None else None


def named_tagger(result: Result, pos_tagger: str) -> Result:
    """The result with the tagger in its definition, unless it is the bundled one."""
    if pos_tagger == "bundled":
        return result
    return replace(result, definition=f"{result.definition}; word classes by NLTK's own tagger")


ARGUMENTS = (AutoArguments,)


def main() -> None:
    """Parse, score, print. Raises UserError."""
    (args,) = parse(ARGUMENTS, __doc__ or "", step="judge")
    mini = args.caption_eval_path is None
    target = result_place(args)
    check_outputs([args], target)
    if not mini and args.annotation_path is None and args.gold_objects_path is None:
        args.annotation_path = _published_annotations()
    if args.chair_mode == "paper" and args.pos_tagger != "bundled":
        raise ArgumentError("--pos_tagger nltk changes nothing in paper mode, where every word is a noun; leave it out")
    path = default_path(args.caption_eval_path, mini, MiniWorld().eval_captions, "--caption_eval_path")
    captions = read_evaluated(require_file(path, "--caption_eval_path"))
    parser = ChairParser(args.chair_mode, args.synonyms_path, tagger_of(args.pos_tagger))
    announce(f"scoring {len(captions)} captions of {path}, CHAIR mode {args.chair_mode}")
    truth = ground_truth(args, parser, captions)
    captions = by_stated_names(captions, truth.known)
    gold = truth.objects
    missing = missing_images([c.image_id for c in captions], gold, args.allow_missing, truth.source)
    if missing:
        announce(f"left out {len(missing)} images without ground truth in {truth.source}")
    kept = [c for c in captions if c.image_id in gold]
    half = truth.half({c.image_id for c in kept}, args.allow_partial_truth)
    about = manifest(
        (args,),
        image_ids={c.image_id for c in kept},
        images_without_ground_truth=missing,
        partial_truth=half,
        captioning=captioning_settings(path),
        **captioned_by(path),
    )
    result = score_captions(kept, gold, parser, truth.references, args.seed, about)
    result = with_half_truth(named_tagger(result, args.pos_tagger), half)
    result = with_extras(result, args, kept, truth.references)
    publish(result, target)


if __name__ == "__main__":
    run(main)
