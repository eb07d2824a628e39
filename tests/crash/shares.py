"""A share of the kills of a step, each noted as soon as it is over; several processes do a share each."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from common.files.storage import read_json_lines
from tests.crash.attempts import Bench, LostError, check
from tests.crash.steps import STEPS, Step, make_inputs

AGAIN, ANEW, LOST = "again", "restart", "lost"


@dataclass(frozen=True)
class Kill:
    """One kill and how it ended.

    Attributes:
        step: name of the step.
        restart: whether it was replacing an earlier result.
        event: before which it was killed; 0: an undisturbed run failed.
        events: how many an undisturbed run has.
        ended: `again` (the same command went on), `restart` (after a clear line that asked for it), `lost`.
        said: what was lost.
    """

    step: str
    restart: bool
    event: int
    events: int
    ended: str
    said: str = ""


@dataclass(frozen=True)
class Plan:
    """Which kills are done.

    Args:
        sample: of each step and way; 0: before every event.
        seed: of the sample.
        record: JSON Lines to which every kill is appended as it ends; those in it are not done again, unless lost.
    """

    sample: int
    seed: int
    record: Path

    def events(self, name: str, restart: bool, count: int) -> list[int]:
        """Numbers of the events to kill before, the same in every process."""
        every = range(1, count + 1)
        if not self.sample or self.sample >= count:
            return list(every)
        return sorted(random.Random(f"{self.seed} {name} {restart}").sample(every, self.sample))

    def done(self) -> list[Kill]:
        """What the record holds, of several ends of one kill the last."""
        if not self.record.exists():
            return []
        found = [Kill(**value) for _, value in read_json_lines(self.record, whole_lines=True)]
        return list({(kill.step, kill.restart, kill.event): kill for kill in found}.values())

    def note(self, kill: Kill) -> None:
        """Append one, in one write, so that several processes may."""
        with self.record.open("ab", buffering=0) as file:
            file.write((json.dumps(asdict(kill)) + "\n").encode())


class Place:
    """Where one process does its share: inputs and outputs of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crash")
        self.root = Path(self._folder.name).resolve()
        make_inputs(self.root / "in")

    def bench(self, name: str) -> Bench:
        """For a step; before `compare` with two results to compare."""
        if name == "compare":
            self._make_results()
        return Bench(STEPS[name], self.root)

    def _make_results(self) -> None:
        bench = Bench(STEPS["judge"], self.root)
        bench.clear()
        bench.attempt()
        for name in ("one", "two"):
            shutil.copy(bench.out / "result.json", bench.inputs / f"{name}.json")


_places: dict[int, Place] = {}  # of this process; a fork has none


def do_share(name: str, number: int, count: int, plan: Plan) -> None:
    """Every `count`-th kill of a step, from number `number` on, without and with --restart."""
    if os.getpid() not in _places:
        _places[os.getpid()] = Place()
    place = _places[os.getpid()]
    ended = {(kill.restart, kill.event) for kill in plan.done() if kill.step == name and kill.ended != LOST}
    for kill in _kills(name, place.bench(name), (number, count), plan, ended):
        plan.note(kill)


def _kills(
    name: str, bench: Bench, share: tuple[int, int], plan: Plan, ended: Iterable[tuple[bool, int]]
) -> Iterator[Kill]:
    """The kills of a share as they end."""
    bench.clear()
    undisturbed = bench.attempt()
    if undisturbed.code != 0:
        yield Kill(name, False, 0, 0, LOST, f"the undisturbed run fails: {undisturbed.said[-2000:]}")
        return
    bench.load()
    wanted, files = bench.results(), bench.files()
    for restart in (False, True) if bench.step.others else (False,):
        earlier, replaced, events = None, None, undisturbed.events
        if restart:
            earlier = _earlier(bench, bench.step)
            replaced = bench.results()
            events = bench.attempt("--restart").events
        for event in plan.events(name, restart, events)[share[0] :: share[1]]:
            if (restart, event) in ended:
                continue
            bench.clear(earlier)
            try:
                yield Kill(name, restart, event, events, check(bench, event, wanted, files, replaced))
            except LostError as error:
                yield Kill(name, restart, event, events, LOST, str(error))


def _earlier(bench: Bench, step: Step) -> Path:
    """A copy of a result of other settings, which --restart is to replace."""
    bench.clear()
    bench.attempt(*step.others)
    earlier = bench.root / "earlier"
    shutil.rmtree(earlier, ignore_errors=True)
    shutil.copytree(bench.out, earlier)
    return earlier
