"""Rows of the table of families, each made by a process of its own that may compute so long, and kept at once."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import UserError
from tests.families.building import write_family
from tests.families.exceptions import changes_of
from tests.families.steps import COLUMNS, Case

BROKEN, LATE = "BROKEN", "TOO LATE"
LOADS, NOT_TRIED = "loads", "not tried"
UNFIT = "do not fit together"
PATIENCE = 20  # seconds of the clock for each of a processor's, as others may use it, too
# What goes on from the run that trained the connector.
TRAINING, AFTER_TRAINING = "train connector", ("checkpointing", "resume", "export and plain load")


@dataclass
class Row:
    """One family: what each column gave, and why not."""

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    connector: str = ""
    seconds: float = 0  # of a processor
    column: str = ""  # that is being tried

    @property
    def broken(self) -> bool:
        """Whether anything ended otherwise than it should."""
        return bool({BROKEN, LATE} & {*self.cells.values()})

    @property
    def loads(self) -> bool:
        """Whether there is a checkpoint of it that `auto` takes."""
        return self.cells.get(LOADS) == "yes"


def row_of(name: str, data: Path, folder: Path, seconds: int) -> Row:
    """Everything that is tried with one family, by a process that may use so many seconds of a processor.

    What it had found until then is kept.
    """
    noted, before = folder / f"{name}.json", _used()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(name, data, folder, noted, seconds))
    child.start()
    child.join(PATIENCE * seconds)
    ended = child.exitcode  # None: it still waits for something
    if child.pid is not None:
        _end_group(child.pid)
    child.join()
    row = Row(**json.loads(noted.read_text(encoding="utf-8"))) if noted.is_file() else Row(name, column=LOADS)
    row.seconds = _used() - before
    if ended == -signal.SIGXCPU or ended is None:
        row.cells[row.column] = LATE
        row.reasons[row.column] = f"no end after {row.seconds:.0f} s of a processor"
    elif ended:
        row.cells[row.column] = BROKEN
        row.reasons[row.column] = f"its process ended with {ended}"
    return row


def _used() -> float:
    """Seconds of a processor that processes begun by this one have used, as far as they have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_group(leader: int) -> None:
    """End a process and those that it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _in_child(name: str, data: Path, folder: Path, noted: Path, seconds: int) -> None:
    """Note the row whenever a column is begun, and at the end."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    for row in columns_of(name, data, folder):
        part = noted.with_suffix(".part")
        part.write_text(json.dumps(asdict(row)), encoding="utf-8")
        part.replace(noted)
    sys.stderr.flush()
    os._exit(0)  # whatever threads of libraries are left


def try_family(name: str, data: Path, folder: Path) -> Row:
    """Everything that is tried with one family, in this process."""
    return list(columns_of(name, data, folder))[-1]


def columns_of(name: str, data: Path, folder: Path) -> Iterator[Row]:
    """The row before each column, with its name, and at last."""
    row, changes = Row(name, column=LOADS), changes_of(name)
    yield row
    if changes.impossible:
        row.reasons[NOT_TRIED] = changes.impossible
    elif case := _written(row, data, folder):
        _cell(row, LOADS, lambda: _loaded(row, case))
        for column, run in COLUMNS.items() if row.loads else ():
            row.column = column
            yield row
            if column not in AFTER_TRAINING or row.cells[TRAINING] == "yes":
                _cell(row, column, lambda run=run: run(case))  # type: ignore[misc]
    row.column = ""
    yield settled(row)


def settled(row: Row) -> Row:
    """The row, where sizes that were put together by rule do not fit, as one that was not tried."""
    if UNFIT in row.reasons.get(LOADS, ""):
        row.cells.clear()
        row.reasons = {NOT_TRIED: f"no tiny checkpoint that fits together was made: {row.reasons[LOADS]}"}
    if row.cells.get(TRAINING) not in (None, "yes"):
        for column in AFTER_TRAINING:
            row.cells.pop(column, None)
            row.reasons.pop(column, None)
    return row


def _written(row: Row, data: Path, folder: Path) -> Case | None:
    case = Case(folder / row.name, data, folder / f"{row.name}-out")
    case.out.mkdir(parents=True)
    try:
        write_family(case.base, row.name, changes_of(row.name))
    except Exception as error:  # whatever configs, models and processors raise that are put together by rule
        row.reasons[NOT_TRIED] = f"no tiny checkpoint of it could be made: {_line(error)}"
        return None
    return case


def _loaded(row: Row, case: Case) -> str:
    from common.models import load_model

    model = load_model("auto", case.base)
    row.connector = ", ".join(model.anatomy.connector)  # type: ignore[attr-defined]
    return "yes"


def _cell(row: Row, column: str, run: Callable[[], str]) -> None:
    try:
        row.cells[column] = run()
    except UserError as error:
        row.cells[column] = "refused"
        row.reasons[column] = str(error)
    except Exception as error:  # a fault of ours, which the table shows
        traceback.print_exc()
        row.cells[column] = BROKEN
        row.reasons[column] = f"{type(error).__name__}: {_line(error)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@dataclass(frozen=True)
class KeptRows:
    """A file of the rows that were made so far; rows of another state of code or libraries are not taken."""

    path: Path
    state: dict[str, str]

    def read(self) -> dict[str, Row]:
        """Name -> row."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        if not lines or json.loads(lines[0]) != self.state:
            return {}
        rows = (Row(**json.loads(line)) for line in lines[1:])
        return {row.name: row for row in rows}

    def begin(self) -> dict[str, Row]:
        """The rows that there are; the file is begun anew if they are of another state."""
        done = self.read()
        if not done:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.state) + "\n", encoding="utf-8")
        return done

    def add(self, row: Row) -> None:
        """Keep a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def make_rows(names: Sequence[str], make: Callable[[str], Row], kept: KeptRows | None) -> list[Row]:
    """A row of each name, made now if it is not kept."""
    done = {} if kept is None else kept.begin()
    for name in names:
        if name in done:
            continue
        row = done[name] = make(name)
        print(f"{name}: {row.cells} {row.reasons} {row.seconds:.0f} s", file=sys.stderr, flush=True)
        if kept is not None:
            kept.add(row)
    return [done[name] for name in names]
