"""Several cores for a small model: lanes, each a thread whose products run on one core.

The products of a small model are over before several cores have met for one of them, so that two cores are hardly
faster than one; two threads with work of their own are. What a lane gets depends on the order of the work alone, never
on time: the same work in as many lanes gives the same bytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import nn

Item = TypeVar("Item")
Made = TypeVar("Made")
Worker = Callable[[Iterator[Item]], Iterator[Made]]

LARGEST = 64 << 20  # bytes of weights; larger ones, which no cache holds, are better read once for all cores
MANY = 1 << 30


def lanes_for(weights: int, pieces: int) -> int:
    """How many lanes pay for a model of so many bytes, and work that falls into so many pieces.

    As many as torch was given threads (OMP_NUM_THREADS).
    """
    import torch

    return max(1, min(torch.get_num_threads(), pieces)) if weights <= LARGEST else 1


def lanes_of(module: nn.Module, pieces: int = MANY) -> int:
    """The same for a module on the CPU; one lane elsewhere."""
    weights = list(module.parameters())
    if any(weight.device.type != "cpu" for weight in weights):
        return 1
    return lanes_for(sum(weight.numel() * weight.element_size() for weight in weights), pieces)


@contextmanager
def one_core_each() -> Iterator[None]:
    """Every thread's products run on one core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Dealt(Generic[Item]):
    """Items dealt out in turn, drawn from their source by whichever lane needs one."""

    def __init__(self, items: Iterable[Item], lanes: int) -> None:
        self.source = iter(items)
        self.hands: list[deque[Item]] = [deque() for _ in range(lanes)]
        self.turn = 0
        self.lock = threading.Lock()

    def to(self, lane: int) -> Iterator[Item]:
        """Those of one lane, as it asks for them."""
        while True:
            with self.lock:
                while not self.hands[lane]:
                    try:
                        item = next(self.source)
                    except StopIteration:
                        return
                    self.hands[self.turn].append(item)
                    self.turn = (self.turn + 1) % len(self.hands)
                item = self.hands[lane].popleft()
            yield item


def side_by_side(workers: Sequence[Worker[Item, Made]], items: Iterable[Item]) -> Iterator[Made]:
    """What all workers make, as it comes; the n-th of them gets every n-th item.

    A worker's error is raised here, and the others stop at the next thing that they make, as they do when nobody wants
    more. Gradients are not kept.
    """
    if len(workers) == 1:
        yield from workers[0](iter(items))
        return
    lanes = _Lanes(workers, Dealt(items, len(workers)))
    with one_core_each():
        yield from lanes.results()


class _Lanes(Generic[Item, Made]):
    """Threads that work, and the queue that their results come through."""

    def __init__(self, workers: Sequence[Worker[Item, Made]], dealt: Dealt[Item]) -> None:
        self.dealt = dealt
        self.stopped = threading.Event()
        self.queue: SimpleQueue[tuple[Made | None, BaseException | None, bool]] = SimpleQueue()
        self.threads = [
            threading.Thread(target=self._work, args=(lane, worker), name=f"lane {lane}")
            for lane, worker in enumerate(workers)
        ]

    def _work(self, lane: int, worker: Worker[Item, Made]) -> None:
        import torch

        failed: BaseException | None = None
        try:
            with torch.no_grad():
                for made in worker(self.dealt.to(lane)):
                    if self.stopped.is_set():
                        break
                    self.queue.put((made, None, False))
        except BaseException as error:
            failed = error
        self.queue.put((None, failed, True))

    def results(self) -> Iterator[Made]:
        """What the workers make, as it comes. Raises what one of them fails with."""
        running = len(self.threads)
        for thread in self.threads:
            thread.start()
        try:
            while running:
                made, failed, ended = self.queue.get()
                if failed is not None:
                    raise failed
                if ended:
                    running -= 1
                else:
                    yield made  # type: ignore[misc]
        finally:
            self.stopped.set()
            for thread in self.threads:
                thread.join()


def in_order(work: Callable[[Item], Made], items: Iterable[Item], lanes: int) -> Iterator[Made]:
    """`work` of each item, in their order, in so many lanes; few results wait. Gradients are as `work` makes them."""
    yield from ahead(work, items, lanes if lanes > 1 else 0, lanes + 1)


def ahead(work: Callable[[Item], Made], items: Iterable[Item], threads: int, many: int) -> Iterator[Made]:
    """`work` of each item, in their order, done in threads before it is asked for; without threads when it is.

    Products run on one core meanwhile: each thread would have helpers of its own otherwise, and these wait busily, on
    cores that the others need.

    `many`: results that wait at most.
    """
    if not threads:
        yield from map(work, items)
        return
    source = iter(items)
    with one_core_each(), ThreadPoolExecutor(threads, "lane") as pool:
        waiting = deque(pool.submit(work, item) for item in islice(source, many))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
        finally:
            pool.shutdown(cancel_futures=True)
