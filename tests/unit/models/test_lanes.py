"""Work in lanes: the same whatever the threads do, errors come through, nothing goes on that nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from common.models.lanes import in_order, lanes_for, lanes_of, side_by_side


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_how_many_lanes() -> None:
    assert lanes_for(10 << 20, pieces=9) == 2
    assert lanes_for(10 << 20, pieces=1) == 1 == lanes_for(0, pieces=0)
    assert lanes_for(13 << 30, pieces=9) == 1  # read once for all cores
    assert lanes_of(torch.nn.Linear(4, 4)) == 2
    assert lanes_of(torch.nn.Linear(4, 4, device="meta")) == 1


@pytest.mark.usefixtures("two_threads")
def test_every_lane_gets_every_second_item_however_fast_it_is() -> None:
    def worker(lane: int, pause: float) -> object:
        def work(items: Iterator[int]) -> Iterator[tuple[int, int, int]]:
            for item in items:
                time.sleep(pause)
                yield lane, item, torch.get_num_threads()

        return work

    made = list(side_by_side([worker(0, 0.0), worker(1, 0.01)], range(9)))  # type: ignore[list-item]
    assert {item for lane, item, _ in made if lane == 0} == {0, 2, 4, 6, 8}
    assert {item for lane, item, _ in made if lane == 1} == {1, 3, 5, 7}
    assert {threads for *_, threads in made} == {1} and torch.get_num_threads() == 2


def test_an_error_of_a_lane_or_of_the_source_is_raised_and_ends_the_others() -> None:
    def failing(items: Iterator[int]) -> Iterator[int]:
        yield next(items)
        raise ValueError("of a lane")

    def endless(_: Iterator[int]) -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 0

    def source() -> Iterator[int]:
        yield 1
        raise ValueError("of the source")

    with pytest.raises(ValueError, match="of a lane"):
        list(side_by_side([failing, endless], range(9)))
    with pytest.raises(ValueError, match="of the source"):
        list(side_by_side([iter, iter], source()))
    assert threading.active_count() == 1 or not any(t.name.startswith("lane") for t in threading.enumerate())


def test_who_takes_no_more_ends_the_lanes() -> None:
    def endless(_: Iterator[int]) -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 0

    made = side_by_side([endless, endless], range(9))
    assert next(made) == 0
    made.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("lane") for thread in threading.enumerate())


@pytest.mark.parametrize("lanes", [1, 3])
def test_results_come_in_order_and_few_wait(lanes: int) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (5 - item))
        return -item

    made = in_order(work, range(6), lanes)
    assert next(made) == 0 and len(begun) <= lanes + 2
    assert list(made) == [-1, -2, -3, -4, -5]
