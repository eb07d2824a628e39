"""One output by several processes: the bytes of one process, whatever their number, kills and the number after them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from common.outputs.parts import part_paths
from common.outputs.settings import settings_path
from tests.forks.scripts import Script

pytestmark = pytest.mark.slow

STEP = """
import os, signal, sys, time
from pathlib import Path
from common.cli import run
from common.errors import DataError
from common.files.record_files import caption_from_json, caption_key
from common.outputs import session
from common.outputs.lines import LineTarget
from common.processes import this_process
from common.progress import announce, say

path, numbers, settings, trouble = Path(sys.argv[1]), range(int(sys.argv[2])), sys.argv[3], sys.argv[4]

def main():
    me = this_process()
    announce("announced")
    print("printed by everybody")
    target = LineTarget(path, "caption_data_path", "a.step", caption_from_json, caption_key)
    target.check()
    if trouble == "early" and me.rank == 1:
        raise DataError("this machine has no such folder")
    with target.open({"prompt": settings if me.rank != 1 else settings.replace("MINE", "other")}) as out:
        lost = {}
        todo = out.share([n for n in numbers if f"{n}/0" not in out.done], [f"{n}/0" for n in numbers])
        for n in todo:
            if n == 7 and trouble == "lost":
                lost["7.png"] = "torn"
                continue
            out.write([{"image": f"{n}.png", "image_id": n, "caption": f"A dog, {n} times.", "by": me.rank}])
            if trouble in ("die", "stuck") and me.rank == 1 and n > 4:
                os.kill(os.getpid(), 9)
            if trouble == "stuck" and n > 4:
                session.STUCK_SECONDS = 0.5
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as within a library that waits
                time.sleep(60)
            if trouble == "fail" and me.rank == 1 and n > 4:
                raise DataError("image 5 is a song")
            if trouble == "first dies" and me.rank == 0 and n > 4:
                os.kill(os.getpid(), 9)
            time.sleep(float(sys.argv[5]))
        if trouble in ("die", "fail", "first dies"):
            time.sleep(20)
        if not out.gather(lost):
            return
        out.finish({"lost": lost})
    say("said")

run(main)
"""


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(path: Path, count: int, settings: str = "s", trouble: str = "", pause: float = 0.0, fresh: bool = False):
    """Start `count` processes as a launcher numbers them, as on machines with one folder and no launcher between."""
    port = free_port()
    words = ["-c", STEP, str(path), "20", settings, trouble, str(pause)]
    processes = []
    for rank in range(count):
        launched = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own = {name: str(value) for name, value in launched.items()} if count > 1 else {}
        processes.append(Script(words, environment={**os.environ, **own}, fresh=fresh))
    return processes


def finish(processes: list[Script]) -> list[tuple[int, str, str]]:
    """(code, output, errors) of each."""
    found = []
    for process in processes:
        with process:
            found.append((process.wait(100), *process.said()))
    return found


def without_makers(path: Path) -> list[str]:
    """The lines, without who wrote them."""
    return [json.dumps({k: v for k, v in json.loads(line).items() if k != "by"}) for line in path.open()]


def makers(path: Path) -> list[int]:
    """Who wrote each line."""
    return [json.loads(line)["by"] for line in path.open()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The output of one process."""
    path = tmp_path_factory.mktemp("alone") / "c.jsonl"
    assert [code for code, _, _ in finish(start(path, 1))] == [0]
    return path


def left(path: Path) -> list[str]:
    """What lies in the folder of an output."""
    return sorted(p.name for p in path.parent.iterdir())


def test_three_processes_write_the_file_of_one_and_only_the_first_speaks(alone, tmp_path):
    path = tmp_path / "c.jsonl"
    ended = finish(start(path, 3))
    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    assert without_makers(path) == without_makers(alone)
    assert makers(path)[:6] == [0, 1, 2, 0, 1, 2]
    assert ended[0][1] == "printed by everybody\nsaid\n"
    assert ended[0][2].startswith("announced\n")
    assert [out + err for _, out, err in ended[1:]] == ["", ""]
    assert left(path) == ["c.jsonl", "c.jsonl.manifest.json", "c.jsonl.settings.json"]


def test_a_process_that_dies_is_named_once_and_another_number_goes_on(alone, tmp_path):
    path = tmp_path / "c.jsonl"
    ended = finish(start(path, 3, trouble="die"))
    assert [code for code, _, _ in ended] == [2, -signal.SIGKILL, 2], ended
    said = "".join(err for _, _, err in ended).splitlines()
    assert [line for line in said if line.startswith("error")] == [line for line in said if "process 1 of 3" in line]
    assert sum("process 1 of 3" in line and "died" in line for line in said) == 1
    kept = {record for part in part_paths(path) for record in without_makers(part)}
    assert len(kept) >= 15  # the first and the third wrote all theirs, the second some
    for count in (2, 1):
        again = tmp_path / f"{count}" / "c.jsonl"
        again.parent.mkdir()
        for file in path.parent.iterdir():
            if file.is_file():
                (again.parent / file.name).write_bytes(file.read_bytes())
        assert [code for code, _, _ in finish(start(again, count))] == [0] * count
        assert without_makers(again) == without_makers(alone)
        assert left(again) == ["c.jsonl", "c.jsonl.manifest.json", "c.jsonl.settings.json"]
        assert 2 in makers(again)  # what the third had written was not made again


def test_the_error_of_another_process_is_told_by_the_first(tmp_path):
    ended = finish(start(tmp_path / "c.jsonl", 2, trouble="fail"))
    assert [code for code, _, _ in ended] == [2, 2], ended
    assert "process 1 of 2" in ended[0][2]
    assert "image 5 is a song" in ended[0][2]
    assert ended[1][2] == ""


def test_when_the_first_dies_the_next_says_so(tmp_path):
    """And torch, which is loaded after it was told, nothing."""
    ended = finish(start(tmp_path / "c.jsonl", 2, trouble="first dies", fresh=True))
    assert [code for code, _, _ in ended] == [-signal.SIGKILL, 2], ended
    assert len(ended[1][2].splitlines()) == 1
    assert "process 0 of 2" in ended[1][2]
    assert "died" in ended[1][2]


def test_one_that_waits_within_a_library_for_the_dead_one_ends_too(tmp_path):
    """Where no signal is heard: as in a call that waits for a GPU."""
    (code, _, errors), (died, _, _) = finish(start(tmp_path / "c.jsonl", 2, trouble="stuck"))
    assert (code, died) == (2, -signal.SIGKILL)
    assert errors.splitlines()[-1].startswith("error: process 1 of 2")
    assert "died" in errors and len(part_paths(tmp_path / "c.jsonl")) == 2


def test_other_settings_in_one_process_are_refused_before_anything_is_written(tmp_path):
    ended = finish(start(tmp_path / "c.jsonl", 2, settings="MINE"))
    assert [code for code, _, _ in ended] == [2, 2], ended
    assert "has prompt other" in ended[0][2]
    assert "process 0" in ended[0][2]
    assert ended[1][2] == "" or "process 0" in ended[1][2]  # the first had ended before the second was told
    assert left(tmp_path / "c.jsonl") == []


def test_an_error_that_the_first_does_not_have_is_told_with_its_process(tmp_path):
    processes = start(tmp_path / "c.jsonl", 2, trouble="early")
    ((_, _, errors),) = finish(processes[1:])
    assert "no such folder" in errors
    assert "process 1" in errors
    os.kill(processes[0].pid, signal.SIGTERM)  # what a launcher does
    ((code, _, _),) = finish(processes[:1])
    assert code in (2, -signal.SIGTERM)  # there was no session yet, or it ended one


def test_what_others_could_not_read_is_in_the_manifest(tmp_path):
    path = tmp_path / "c.jsonl"
    assert [code for code, _, _ in finish(start(path, 2, trouble="lost"))] == [0, 0]
    assert json.loads(Path(f"{path}.manifest.json").read_text())["lost"] == {"7.png": "torn"}
    assert len(without_makers(path)) == 19


def test_all_killed_at_any_time_nothing_is_lost(alone, tmp_path):
    path = tmp_path / "c.jsonl"
    processes = start(path, 2, pause=0.3)
    until = time.monotonic() + 60
    while sum(p.stat().st_size for p in part_paths(path)) < 300 and time.monotonic() < until:
        time.sleep(0.05)
    for process in processes:
        process.kill()
    finish(processes)
    part = part_paths(path)[0]
    part.write_bytes(part.read_bytes()[:-9])  # a line that the kill cut short
    assert [code for code, _, _ in finish(start(path, 1, settings="t"))] == [2]
    assert settings_path(path).is_file()
    assert [code for code, _, _ in finish(start(path, 3))] == [0, 0, 0]
    assert without_makers(path) == without_makers(alone)
