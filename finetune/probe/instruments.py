"""With what a probe judges: the extractor and the scorer that the samples came from, and the threshold of these scores.

Another scorer has another scale, and what it calls low says nothing about what was unlearnt; so another one is refused
where the manifest beside the samples says which it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.manifest import manifest_path
from common.objects.extractors import ObjectExtractor
from common.objects.noted import LONGEST_ANSWER, NotedExtractor, extractor_of_objects
from common.paths import MINI_CLIP, display
from common.progress import announce
from common.relevance.clip_scorer import ClipScorer, default_weights, load_scorer
from common.relevance.noted import NotedScorer, scorer_of_scores
from common.thresholds import PUBLISHED_SCORERS, noted_for
from finetune.probe.arguments import ProbeArguments


@dataclass(frozen=True)
class Instruments:
    """Extractor and scorer by their files."""

    scorer: NotedScorer
    extractor: NotedExtractor

    def settings(self) -> dict[str, Any]:
        """What a continued run must have in common with the one that began it."""
        theirs = asdict(self.scorer)
        names = ("weights", "files", "prompt", "mode", "patch", "span", "best", "noise", "noise_seed")
        scorer = {f"probe_{name}": theirs[name] for name in names}
        return scorer | {f"probe_{name}": value for name, value in self.extractor.to_json().items()}

    def load(self, device: str, dtype: str) -> tuple[ObjectExtractor, ClipScorer]:
        """Both, ready. Raises CheckpointError, ArgumentError, MissingDependencyError."""
        loaded = load_scorer(self.scorer.clip_model, self.scorer.clip_pretrained, device, dtype)
        return self.extractor.build(device), loaded


def find_instruments(args: ProbeArguments, thresholds: ThresholdArguments, samples: Path, mini: bool) -> Instruments:
    """As noted beside the samples, or as the flags say where these do not contradict it.

    Args:
        samples: the file of the spans.
        mini: whether it is the mini world's.

    Raises ArgumentError for others than the noted ones; DataError where there is no scorer, or no threshold.
    """
    found = Instruments(_scorer(args, samples, mini), _extractor(args, samples))
    _require_threshold(thresholds, samples, found.scorer)
    return found


def _scorer(args: ProbeArguments, samples: Path, mini: bool) -> NotedScorer:
    noted = scorer_of_scores(samples)
    given = args.clip_model or (str(MINI_CLIP) if mini else None)
    if given is None:
        if noted is None:
            raise DataError(
                f"the probe needs the scorer that {display(samples)} came from, and {manifest_path(samples).name} "
                "notes none; give it with --clip_model (ViT-B-32 for the published set)"
            )
        found = noted.found()
        if not found.is_here:
            raise DataError(
                f"the scorer that {display(samples)} came from, {noted.clip_model}, is not there; give it with "
                "--clip_model"
            )
        if args.clip_pretrained not in (None, noted.clip_pretrained):
            raise ArgumentError(
                f"--clip_pretrained {args.clip_pretrained} is not what the scorer that {display(samples)} came from "
                f"has ({noted.clip_pretrained}); leave it out, or name the scorer with --clip_model"
            )
        _require_unchanged(found, samples)
        return found
    if noted is None:
        announce(f"nothing notes the scorer of {display(samples)}; the probe takes {given}")
        return NotedScorer.of(given, args.clip_pretrained or default_weights(given))
    ours = NotedScorer.of(given, args.clip_pretrained or default_weights(given), noted.settings)
    ours = replace(ours, noise=noted.noise, noise_seed=noted.noise_seed)
    other = ours.other_than(noted)
    if other is not None:
        raise ArgumentError(
            f"--clip_model {given} is not the scorer that {display(samples)} came from ({noted.clip_model}): {other}; "
            "leave it out, or score and format the captions with it"
        )
    return ours


def _require_unchanged(noted: NotedScorer, samples: Path) -> None:
    """Raise DataError if a scorer is no longer what it was when it made the scores, where that is noted."""
    now = NotedScorer.of(noted.clip_model, noted.clip_pretrained, noted.settings)
    other = replace(now, noise=noted.noise, noise_seed=noted.noise_seed).other_than(noted) if noted.weights else None
    if other is not None:
        raise DataError(
            f"the scorer that {display(samples)} came from, {noted.clip_model}, has been changed since: {other}; give "
            "the former with --clip_model, or score and format the captions again"
        )


def _extractor(args: ProbeArguments, samples: Path) -> NotedExtractor:
    noted = extractor_of_objects(samples)
    if args.extractor is None and args.extractor_model is None:
        if noted is not None and noted.extractor_model_hash is not None:
            now = NotedExtractor.of(
                noted.extractor, noted.extractor_model, noted.extractor_max_new_tokens or LONGEST_ANSWER
            )
            if other := now.other_than(noted):
                raise DataError(
                    f"the extractor that {display(samples)} came from, {noted.extractor_model}, has been changed or "
                    f"moved since: {other}; give the former with --extractor_model, or extract the objects again"
                )
        return noted or NotedExtractor()
    name = args.extractor or ("llm" if args.extractor_model else "spacy")
    longest = noted.extractor_max_new_tokens if noted else None
    ours = NotedExtractor.of(name, args.extractor_model, **({"max_new_tokens": longest} if longest else {}))
    other = ours.other_than(noted) if noted else None
    if other is not None:
        raise ArgumentError(
            f"--extractor {name} is not the extractor that {display(samples)} came from: {other}; leave it out, or "
            "extract, score and format the captions with it"
        )
    return ours


def _require_threshold(args: ThresholdArguments, samples: Path, scorer: NotedScorer) -> None:
    """Raise DataError where only the published thresholds are left, for scores of another scale."""
    noted, _ = noted_for(samples)
    published = Path(scorer.clip_model).name in PUBLISHED_SCORERS
    for name, flag in (("hallucinated", "hal_clip_thres"), ("grounded", "norm_clip_thres")):
        if getattr(args, flag) is None and name not in noted and not published:
            raise DataError(
                f"the probe needs the {name} threshold of the scores of {scorer.clip_model}, and "
                f"{manifest_path(samples).name} notes none; give --{flag}"
            )
