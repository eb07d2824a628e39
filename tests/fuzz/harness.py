"""Malformed input for every reader, until one of them fails.

    python -m tests.fuzz.harness --inputs 10000 --seed 0

Each input is a mutation of one file of a reader's valid files. The reader may give a result or raise a UserError of one
line that names the file; anything else is a fault: another exception, a wrong type that was coerced, a number that is
not finite, more than `SLOW` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import LONGEST_MESSAGE, UserError
from tests.fuzz.mutations import Mutated, mutated
from tests.fuzz.reader import Reader
from tests.scratch import scratch

SLOW = 20.0  # seconds, on a busy machine


@dataclass(frozen=True)
class Fault:
    """An input that a reader did not stand."""

    reader: str
    file: str
    mutation: str
    number: int
    why: str
    data: bytes

    def __str__(self) -> str:
        return f"input {self.number}, {self.reader}, {self.file}, {self.mutation}: {self.why}\n  {self.data[:300]!r}"


@dataclass
class Report:
    """What became of the inputs."""

    read: Counter[str]
    refused: Counter[str]
    faults: list[Fault]

    def line(self) -> str:
        """In figures."""
        read, refused, faults = self.read.total(), self.refused.total(), len(self.faults)
        return (
            f"{read + refused + faults} inputs over {len(self.read | self.refused)} readers: {refused} refused in one "
            f"line, {read} read, {faults} faults"
        )


def run(readers: Sequence[Reader], inputs: int, seed: int, folder: Path) -> Report:
    """Give the readers so many inputs, each a function of its number and the seed alone."""
    report = Report(Counter(), Counter(), [])
    shares = [reader.share for reader in readers]
    valid: dict[str, object] = {}
    for number in range(inputs):
        chance = random.Random(f"{seed}/{number}")
        reader = chance.choices(readers, weights=shares)[0]
        place = folder / reader.name.replace(" ", "_")
        if reader.name not in valid:
            valid[reader.name] = canonical(_outcome(reader, place, {}))
        name = chance.choice(sorted(reader.mutable))
        change = mutated(chance, reader.mutable[name], name)
        why = _fault(reader, place, name, change, valid[reader.name], report)
        if why:
            report.faults.append(Fault(reader.name, name, change.kind, number, why, change.data))
            print(report.faults[-1], flush=True)
    return report


def _fault(reader: Reader, place: Path, name: str, change: Mutated, valid: object, report: Report) -> str | None:
    """What is wrong with the reader's answer to an input; None, and counted, if nothing is."""
    begun = time.monotonic()
    try:
        result = _outcome(reader, place, {name: change.data})
    except UserError as error:
        why = _bad_message(str(error), place, reader)
        report.refused[reader.name] += why is None
        return why
    except Exception:
        return traceback.format_exc().strip().replace("\n", "\n    ")
    if time.monotonic() - begun > SLOW:
        return f"took {time.monotonic() - begun:.0f} s"
    found = canonical(result)
    if not reader.infinite and not all(map(math.isfinite, _numbers(found))):
        return "a number that is not finite was read"
    if found != valid and change.field not in reader.spelled and _coerced(reader, place, name, change, found):
        return f"the value of {change.field or 'an entry'} was coerced from another type"
    report.read[reader.name] += 1
    return None


def _coerced(reader: Reader, place: Path, name: str, change: Mutated, found: object) -> bool:
    """Whether a value of the wrong type was read as what its conversion gives."""
    if change.twin is None:
        return False
    try:
        return canonical(_outcome(reader, place, {name: change.twin})) == found
    except UserError:
        return False


def _bad_message(message: str, place: Path, reader: Reader) -> str | None:
    if "\n" in message or len(message) > LONGEST_MESSAGE or not message.isprintable():
        return f"the message is not one plain line: {message!r}"
    named = [place.name, *reader.files, "--"]  # a flag will do
    return None if any(name in message for name in named) else f"the message names neither file nor flag: {message}"


def _outcome(reader: Reader, place: Path, changes: Mapping[str, bytes]) -> object:
    """What the reader makes of its files with some changed. Raises whatever it raises."""
    place.mkdir(parents=True, exist_ok=True)
    for name, data in (reader.files | changes).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            if not path.exists():
                path.symlink_to(data)
        else:
            path.write_bytes(data)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return reader.read(place)


def canonical(value: object) -> object:
    """A result as plain values that can be compared, types kept apart (1, 1.0 and True differ)."""
    if is_dataclass(value) and not isinstance(value, type):
        return tuple((field.name, canonical(getattr(value, field.name))) for field in fields(value))
    if isinstance(value, Mapping):
        return tuple((canonical(key), canonical(part)) for key, part in value.items())
    if isinstance(value, np.ndarray):
        return canonical(value.tolist())
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(repr, value)))
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(map(canonical, value))
    return (type(value).__name__, value if isinstance(value, str | int | float | bool | None) else repr(value))


def _numbers(value: object) -> Iterator[float]:
    """All floats of a canonical value."""
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield value


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print the faults and a line of figures; exit code 1 with faults."""
    parser = argparse.ArgumentParser(description="malformed input for every reader")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="this one alone")
    args: Any = parser.parse_args(argv)
    from tests.fuzz.readers import all_readers

    begun = time.monotonic()
    with scratch("fuzz") as place:
        for name in ("samples", "inputs"):
            (place / name).mkdir()
        readers = [r for r in all_readers(place / "samples") if args.reader in (None, r.name)]
        report = run(readers, args.inputs, args.seed, place / "inputs")
    for reader in readers:
        print(f"{reader.name}: {report.refused[reader.name]} refused, {report.read[reader.name]} read")
    print(f"{report.line()}, in {time.monotonic() - begun:.0f} s (seed {args.seed})")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
