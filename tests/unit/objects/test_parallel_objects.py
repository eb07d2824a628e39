"""Objects by several processes: the same, in the same order; a death among them is told in one line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from common.errors import DataError, UserError
from common.files.records import ObjectMention
from common.objects.parallel import extracted
from common.objects.spacy_extractor import SpacyExtractor
from common.paths import ROOT

BATCHES = [[f"{i}.{k}" for k in range(1 + i % 3)] for i in range(9)]


class Slow:
    """Finds the whole caption; the first batches take longest, and every caption tells who worked on it."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        time.sleep(0.02 * (9 - int(captions[0][0])) / 9)
        for caption in captions:
            yield (ObjectMention(caption, int(os.getpid() == self.home), len(caption)),)


def texts(found: Sequence[Sequence[Sequence[ObjectMention]]]) -> list[list[str]]:
    """What was found, as the captions it was found in."""
    return [[mentions[0].text for mentions in batch] for batch in found]


@pytest.mark.parametrize("processes", [1, 2, 5, 40])
def test_results_keep_the_order_of_the_captions(processes):
    found = list(extracted(Slow(), BATCHES, processes))
    assert texts(found) == BATCHES
    at_home = {mentions[0].start for batch in found for mentions in batch}
    assert at_home == {int(processes == 1)}


def test_nothing_to_do_starts_nothing():
    assert list(extracted(Slow(), [], 4)) == []
    assert texts(list(extracted(Slow(), BATCHES[:1], 4))) == BATCHES[:1]


def test_a_process_that_dies_is_one_line_and_what_came_before_it_is_kept():
    class Dying(Slow):
        def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
            if captions[0].startswith("7"):
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)
            yield from super().extract(captions)

    kept = []
    with pytest.raises(UserError, match="a process that extracts objects died") as error:
        for batch in extracted(Dying(), BATCHES, 2):
            kept.append(batch)
    assert "\n" not in str(error.value)
    assert texts(kept) == BATCHES[: len(kept)]
    assert kept


def test_workers_that_die_while_nobody_listens_any_more_leave_no_traceback(monkeypatch):
    """As of a signal to all processes: what is not begun is then cancelled and lost at once."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    found = extracted(Slow(), BATCHES * 300, 2)
    next(found)
    for worker in multiprocessing.active_children():
        worker.kill()
    found.close()
    assert not failed


def test_an_error_of_the_extractor_comes_through():
    class Failing(Slow):
        def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
            raise DataError(f"no words in {captions[0]}")

    with pytest.raises(DataError, match=r"no words in 0\.0"):
        list(extracted(Failing(), BATCHES, 3))


def test_spacy_finds_the_same_in_any_number_of_processes():
    captions = [f"A man rides {n} horses near a wooden table, and a traffic light is red." for n in range(40)]
    batches = [captions[i : i + 8] for i in range(0, 40, 8)]
    extractor = SpacyExtractor()
    alone = list(extracted(extractor, batches, 1))
    assert alone == list(extracted(extractor, batches, 3))
    assert [m.text for m in alone[0][0]] == ["man", "horses", "table", "traffic light"]


SCRIPT = """
import multiprocessing, time
from common.cli import run
from common.objects.parallel import extracted
class Slow:
    def extract(self, captions):
        time.sleep(0.3)
        return [() for _ in captions]
def main():
    for n, _ in enumerate(extracted(Slow(), [["a"]] * 1000, 2)):
        n or print("begun", *(c.pid for c in multiprocessing.active_children()), flush=True)
run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_one_line_and_soon_over(number):
    """Ctrl-C reaches every process of the terminal, SIGTERM of a scheduler as well."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None and process.stdout.readline().startswith(b"begun")
        os.killpg(process.pid, number)
        _, shown = process.communicate(timeout=30)
    assert (process.returncode, shown) == (130, b"interrupted; run the same command again to continue\n")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_do_not_outlive_a_script_that_is_killed():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, cwd=ROOT, env=environment) as script:
        assert script.stdout is not None
        workers = [Path(f"/proc/{int(number)}") for number in script.stdout.readline().split()[1:]]
        script.kill()
    assert len(workers) == 2
    end = time.monotonic() + 30
    while any(worker.exists() for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [worker for worker in workers if worker.exists()]
