"""Objects of many captions by several processes at once, in the order of the captions.

The extractor is inherited by fork, so that it is loaded once; a task is a whole batch, so that the parser sees the same
neighbours whoever works on it and the result is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from common.errors import UserError
from common.files.records import ObjectMention
from common.objects.extractors import ObjectExtractor
from common.processes import made_in_order, worker_pool

Found = list[tuple[ObjectMention, ...]]

_inherited: list[ObjectExtractor] = []  # of a worker process: the one extractor that it was started with


def extracted(extractor: ObjectExtractor, batches: Sequence[Sequence[str]], processes: int = 1) -> Iterator[Found]:
    """Yield the mentions of each batch's captions, in order.

    Args:
        batches: captions that are worked on together.
        processes: at most so many, and never more than there are batches; 1: this process itself.

    Raises UserError if one of the processes dies; what the extractor raises comes through.
    """
    processes = min(processes, len(batches))
    if processes <= 1:
        yield from (list(extractor.extract(batch)) for batch in batches)
        return
    with worker_pool(processes, "fork", _inherited.append, extractor) as pool:
        try:
            yield from made_in_order(pool, _extract, batches)
        except BrokenProcessPool:
            raise UserError(
                "a process that extracts objects died, perhaps for want of memory; the objects so far are kept: start "
                "the same command again"
            ) from None


def _extract(batch: Sequence[str]) -> Found:
    return list(_inherited[-1].extract(batch))
