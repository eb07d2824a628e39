"""Objects of real captions, as `insight/object.py` finds them: captions a second, on one core and on all."""

from __future__ import annotations

import time
from typing import Any

from common.objects.parallel import Found, extracted
from common.objects.spacy_extractor import SpacyExtractor
from common.processes import usable_cores
from common.progress import batches
from insight.object import BATCH


def find_objects(captions: list[str], alone: int) -> dict[str, Any]:
    """Captions a second by one process (over the first `alone` captions) and by one a core. Raises if they differ."""
    extractor = SpacyExtractor()
    list(extractor.extract(captions[:BATCH]))  # what spaCy does once
    one, first = _timed(extractor, captions[:alone], 1)
    cores = usable_cores()
    all_s, every = _timed(extractor, captions, cores)
    if every[: len(first)] != first:
        raise AssertionError("several processes found other objects than one")
    return {
        "captions": len(captions),
        "processes": cores,
        "captions_s": len(captions) / all_s,
        "captions_s_one_process": alone / one,
    }


def _timed(extractor: SpacyExtractor, captions: list[str], processes: int) -> tuple[float, list[Found]]:
    begin = time.perf_counter()
    found = list(extracted(extractor, batches(captions, BATCH), processes))
    return time.perf_counter() - begin, found
