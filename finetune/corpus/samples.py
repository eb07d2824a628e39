"""The sets of spans, sentences and repaired captions as they stand in their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.contents import file_hash
from common.files.json_text import shown
from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.records import SentenceSample, SpanSample
from common.files.storage import read_json, require_file
from common.manifest import manifest_path
from common.paths import display
from common.thresholds import Thresholds
from finetune.corpus.origin import strange_captions, torn_beginnings, uncut

MADE_OF = ("scores_sha256", "thresholds", "agreement", "repeats", "spans_sha256")  # of a manifest; the last by --repair

FEWEST = 3  # of which all may be captions as they are by chance
LOOKED_AT = 100  # repaired captions, evenly; those of one image cost its captions each


@dataclass(frozen=True)
class Samples:
    """The files as read; `repaired` is empty where none was given."""

    spans: tuple[SpanSample, ...]
    sentences: tuple[SentenceSample, ...]
    repaired: tuple[SentenceSample, ...] = ()

    def images(self) -> list[str]:
        """Names of all images, each once, in order of appearance."""
        whole = (*self.sentences, *self.repaired)
        return list(dict.fromkeys([*(s.image for s in self.spans), *(s.image for s in whole)]))


def read_samples(pos_neg: Path, sentences: Path, repaired: Path | None = None) -> Samples:
    """Read the files.

    Raises DataError for a missing file or a malformed entry, for sets that were not made of the same, and for a
    repaired set that is empty.
    """
    spans = read_span_samples(require_file(pos_neg, "--pos_neg_data_path"))
    whole = read_sentence_samples(require_file(sentences, "--sentence_data_path"))
    require_same(sentences, pos_neg)
    samples = Samples(tuple(spans), tuple(whole))
    if repaired is None:
        return samples
    if repaired.exists() and repaired.samefile(sentences):
        raise DataError(f"{display(repaired)} is given as --sentence_data_path and as --repaired_data_path")
    return replace(samples, repaired=read_repaired(repaired, pos_neg, samples))


def read_repaired(path: Path, pos_neg: Path, others: Samples) -> tuple[SentenceSample, ...]:
    """Repaired captions. Raises DataError if there is none, or if they were made of something else than the others."""
    samples = read_sentence_samples(require_file(path, "--repaired_data_path"))
    if not samples:
        raise DataError(f"{display(path)} (from --repaired_data_path) holds no captions; leave it out, or mine more")
    require_same(path, pos_neg)
    known = set(others.images())
    strange = list(dict.fromkeys(sample.image for sample in samples if sample.image not in known))
    if strange:
        raise DataError(
            f"{display(path)} (from --repaired_data_path) holds captions of {len(strange)} images that the other sets "
            f"lack, as {shown(strange[0])}; make all with one call of finetune/format_data.py"
        )
    looked_at = samples[:: max(1, len(samples) // LOOKED_AT)]
    unknown = strange_captions(looked_at, others.spans, others.sentences)
    if len(unknown) > len(looked_at) / 2:
        raise DataError(
            f"{len(unknown)} of {len(looked_at)} captions of {display(path)} (from --repaired_data_path) are not what "
            f"is left of a caption of their image in the other sets, as {shown(unknown[0].sentence)}; make all with "
            "one call of finetune/format_data.py"
        )
    torn = torn_beginnings(looked_at, others.sentences)
    if torn:
        raise DataError(
            f"{display(path)} (from --repaired_data_path): a caption of {torn[0].image} begins within a sentence, "
            f"{shown(torn[0].sentence)}; make all with one call of finetune/format_data.py"
        )
    if len(samples) >= FEWEST and uncut(samples, others.sentences):
        raise DataError(
            f"{display(path)} (from --repaired_data_path) holds whole captions as they are in the sentences, and "
            "nothing is cut out of any; give the repaired.json of finetune/format_data.py"
        )
    return tuple(samples)


def require_same(path: Path, pos_neg: Path) -> None:
    """Raise DataError if a set notes other scores or thresholds, other scores by agreement, or other spans, than these.

    What only one of the two notes, or none, is not compared; the published set has no notes.
    """
    ours, theirs = (made_of(file) for file in (path, pos_neg))
    if "spans_sha256" in ours:
        theirs["spans_sha256"] = file_hash([pos_neg])
    for name in MADE_OF:
        if name in ours and name in theirs and ours[name] != theirs[name]:
            raise DataError(
                f"{display(path)} was made with {name} {shown(ours[name])}, {display(pos_neg)} with "
                f"{shown(theirs[name])}; make both with one call of finetune/format_data.py"
            )


def require_cut_at(repaired: Path, thresholds: Thresholds) -> None:
    """Raise DataError if captions were repaired below another threshold than the one that spans are unlearnt below."""
    noted = made_of(repaired).get("thresholds")
    low = noted.get("hallucinated") if isinstance(noted, dict) else None
    if isinstance(low, (int, float)) and not isclose(low, thresholds.hallucinated, rel_tol=1e-3):  # as typed from a log
        raise DataError(
            f"{display(repaired)} (from --repaired_data_path) lacks what is scored below {low:g}, and spans are "
            f"unlearnt below {thresholds.hallucinated:g}; make it anew with --hal_clip_thres "
            f"{thresholds.hallucinated:g} (finetune/format_data.py), or leave the flag out"
        )


def made_of(path: Path) -> dict[str, Any]:
    """What a set was made of, as its manifest notes; empty without one."""
    noted = manifest_path(path)
    if not noted.is_file():
        return {}
    values = read_json(noted)
    known = MADE_OF if isinstance(values, dict) else ()
    return {name: values[name] for name in known if name in values}
