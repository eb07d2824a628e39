"""The object script, killed half-way and started again, gives the file of an undisturbed run byte for byte."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tests.forks.scripts import Script, run

COUNT = 1100  # five batches
PLACES = ("kitchen", "street", "beach", "park", "room")
THINGS = ("dog", "red bus", "cell phone", "bowl of fruit", "couple of chairs", "hot dog", "tall tree")


def write_captions(path: Path) -> None:
    """Captions of a few sentences each, all different."""
    with path.open("w") as file:
        for i in range(COUNT):
            a, b, c = (THINGS[(i * k + k) % len(THINGS)] for k in (1, 3, 5))
            text = f"A {a} can be seen in a {PLACES[i % 5]} near number {i}. Beside it, there is a {b}, and a {c}."
            file.write(json.dumps({"image": f"{i}.jpg", "image_id": i, "caption": text}) + "\n")


def command(captions: Path, target: Path) -> list[str]:
    """What stands behind `python`."""
    return ["insight/object.py", "--caption_data_path", str(captions), "--object_data_path", str(target)]


def kill_after_first_write(words: list[str], target: Path) -> None:
    """Start the script and kill it as soon as it has written something."""
    with Script(words) as script:
        deadline = time.monotonic() + 120
        while not (target.exists() and target.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
            assert script.poll() is None, "ended before it could be killed"
        assert script.kill() == -signal.SIGKILL


def test_d16_killed_and_continued_gives_the_same_bytes(tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    write_captions(captions)
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    with Script(command(captions, whole), fresh=True) as script:
        assert script.wait() == 0
    kill_after_first_write(command(captions, torn), torn)
    left = torn.read_bytes()
    assert 0 < len(left) < len(whole.read_bytes())
    assert run(command(captions, torn)).returncode == 0
    assert torn.read_bytes() == whole.read_bytes()
    manifest = json.loads((tmp_path / "torn.jsonl.manifest.json").read_text())
    assert manifest["counts"]["captions"] == COUNT
