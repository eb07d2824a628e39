"""From scored objects to the training files in the published layout: `pos_neg.json` and `sentences.json`.

    python finetune/format_data.py                           # the built-in mini world
    python finetune/format_data.py --score_data_path scores.jsonl --pos_neg_data_path pos_neg.json \\
        --sentence_data_path sentences.json

`pos_neg.json` holds every sub-sentence that names an object, once: context `sentence[:position]`, target
`sentence[position:]`, and a score; training cuts it at the thresholds. `sentences.json` holds every caption that names
an object, with the mean and the least score. How a span with several objects is scored: `finetune/samples/sets.py`.

The manifest beside `pos_neg.json` notes the thresholds and the counts at each filter. Other thresholds at training
time are fine, but conflicts were decided at those noted.

Raises (as one line, exit code 2): no such file; malformed lines; objects without a score; thresholds in the wrong
order, or `auto` without a manifest beside the scores; a set that is empty after filtering.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from common.args import ThresholdArguments, flag, parse
from common.cli import run
from common.errors import DataError
from common.files.record_files import read_objects, write_samples
from common.files.records import CaptionObjects
from common.files.storage import require_file
from common.manifest import file_hash, manifest, write_manifest
from common.mini_world import MiniWorld, default_path
from common.paths import display
from common.progress import announce, say
from common.thresholds import Thresholds, resolve
from finetune.samples.sets import Samples, build_samples

TARGETS = ("subsentence", "objects")


@dataclass
class FormatArguments:
    """Without --score_data_path all files are the mini world's."""

    score_data_path: str | None = flag(None, "objects with scores, from insight/clip.py")
    pos_neg_data_path: str | None = flag(None, "where the spans go (JSON)")
    sentence_data_path: str | None = flag(None, "where the whole captions go (JSON)")
    unlearn_target: str = flag("subsentence", "what is unlearnt: the sub-sentence, or only the object's words", TARGETS)
    dry_run: bool = flag(False, "check the input, say what the sets would be, and stop")

    @property
    def mini(self) -> bool:
        """Whether the scores are the mini world's."""
        return self.score_data_path is None

    def paths(self) -> tuple[Path, Path, Path]:
        """Scores, spans and sentences file. Raises DataError if one is needed and not given."""
        world = MiniWorld()
        return (
            default_path(self.score_data_path, self.mini, world.scores, "--score_data_path"),
            _target(self.pos_neg_data_path, self.mini, world.pos_neg, "--pos_neg_data_path"),
            _target(self.sentence_data_path, self.mini, world.sentences, "--sentence_data_path"),
        )


def _target(given: str | None, mini: bool, default: Path, name: str) -> Path:
    if given is None and not mini:
        raise DataError(f"{name} is needed with scores of your own: where shall the result go?")
    return default if given is None else Path(given)


def read_scored(path: Path) -> list[CaptionObjects]:
    """Captions with objects, all of them scored.

    Raises DataError: malformed line, an object without a score, a caption twice.
    """
    records = read_objects(path)
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise DataError(
                f"{display(path)}: two captions of image {record.image} (sample {record.sample}); "
                "remove one or number them with a 'sample' field"
            )
        seen.add(record.key)
        for mention in record.objects:
            if mention.score is None:
                raise DataError(
                    f"{display(path)}: object '{mention.text}' of image {record.image} has no score; "
                    "run insight/clip.py on this file first"
                )
    return records


def check_sets(samples: Samples, cut: Thresholds, path: Path) -> None:
    """Raise DataError, with the counts at each filter, if a set is empty."""
    counts = samples.counts
    limits = {
        "positives": f"score above {cut.grounded:g}",
        "negatives": f"score below {cut.hallucinated:g}",
        "sentences": f"mean above {cut.sentence:g} and least above {cut.hallucinated:g}",
    }
    for name, limit in limits.items():
        if getattr(counts, name) == 0:
            raise DataError(
                f"no {name} ({limit}) are left of {display(path)}: {counts.line()}; "
                "move the thresholds, or take --hal_clip_thres auto --norm_clip_thres auto --sentence_clip_thres auto"
            )


def write(samples: Samples, spans: Path, sentences: Path) -> None:
    """Write both files, each at once."""
    write_samples(spans, samples.spans)
    write_samples(sentences, samples.sentences)


ARGUMENTS = (FormatArguments, ThresholdArguments)


def main() -> None:
    """Parse, build, check, write."""
    args, thresholds = parse(ARGUMENTS, __doc__ or "", step="format")
    if args.mini:
        announce("no --score_data_path: using the built-in mini world")
    scores, spans, sentences = args.paths()
    records = read_scored(require_file(scores, "--score_data_path"))
    cut = resolve(thresholds, scores, args.mini)
    announce(f"{len(records)} captions, hallucinated below {cut.hallucinated:g}, grounded above {cut.grounded:g}")
    samples = build_samples(records, cut, args.unlearn_target == "subsentence")
    check_sets(samples, cut, scores)
    if not args.dry_run:
        write(samples, spans, sentences)
        notes = manifest(
            [args, thresholds],
            image_ids={record.image_id for record in records},
            thresholds=asdict(cut),
            counts=asdict(samples.counts),
            scores_sha256=file_hash([scores]),
        )
        write_manifest(spans, notes)
    say(f"{samples.counts.line()}; {display(spans)}, {display(sentences)}")


if __name__ == "__main__":
    run(main)
