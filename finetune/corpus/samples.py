"""The sets of spans, sentences and repaired captions as they stand in their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.records import SentenceSample, SpanSample
from common.files.storage import read_json, require_file
from common.manifest import manifest_path
from common.paths import display


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
    """Read the files. Raises DataError for a missing file or a malformed entry, and see :func:`read_repaired`."""
    spans = read_span_samples(require_file(pos_neg, "--pos_neg_data_path"))
    whole = read_sentence_samples(require_file(sentences, "--sentence_data_path"))
    return Samples(tuple(spans), tuple(whole), read_repaired(repaired, pos_neg) if repaired else ())


def read_repaired(path: Path, pos_neg: Path) -> tuple[SentenceSample, ...]:
    """Repaired captions. Raises DataError if there is none, or if they were made of other scores than the spans."""
    samples = read_sentence_samples(require_file(path, "--repaired_data_path"))
    if not samples:
        raise DataError(f"{display(path)} (from --repaired_data_path) holds no captions; leave it out, or mine more")
    ours, theirs = (made_of(file) for file in (path, pos_neg))
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            raise DataError(
                f"{display(path)} was made with {name} {ours[name]}, {display(pos_neg)} with {theirs[name]}; "
                "make both with one call of finetune/format_data.py"
            )
    return tuple(samples)


def made_of(path: Path) -> dict[str, Any]:
    """Scores and thresholds that a set was made of, as its manifest notes; empty without one."""
    noted = manifest_path(path)
    if not noted.is_file():
        return {}
    values = read_json(noted)
    known = ("scores_sha256", "thresholds") if isinstance(values, dict) else ()
    return {name: values[name] for name in known if name in values}
