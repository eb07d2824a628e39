"""Every reader of the project with small valid files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.of_benchmarks import answer_readers, question_readers, result_readers
from tests.fuzz.of_models import model_readers
from tests.fuzz.of_sidecars import sidecar_readers, truth_readers
from tests.fuzz.of_steps import record_readers
from tests.fuzz.reader import Reader


def all_readers(scratch: Path | None = None) -> Sequence[Reader]:
    """Every reader; those of models only with a folder for what they need."""
    readers = [
        *(*record_readers(), *truth_readers(), *sidecar_readers()),
        *(*answer_readers(), *question_readers(), *result_readers()),
    ]
    return [*readers, *model_readers(scratch)] if scratch else readers
