"""The two sets of spans and sentences as they stand in their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.files.record_files import read_sentence_samples, read_span_samples
from common.files.records import SentenceSample, SpanSample
from common.files.storage import require_file


@dataclass(frozen=True)
class Samples:
    """The two files as read."""

    spans: tuple[SpanSample, ...]
    sentences: tuple[SentenceSample, ...]

    def images(self) -> list[str]:
        """Names of all images, each once, in order of appearance."""
        names = [*(span.image for span in self.spans), *(sentence.image for sentence in self.sentences)]
        return list(dict.fromkeys(names))


def read_samples(pos_neg: Path, sentences: Path) -> Samples:
    """Read both files. Raises DataError for a missing file or a malformed entry."""
    spans = read_span_samples(require_file(pos_neg, "--pos_neg_data_path"))
    return Samples(tuple(spans), tuple(read_sentence_samples(require_file(sentences, "--sentence_data_path"))))
