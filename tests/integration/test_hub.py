"""Models by their id on the hub, against a small one on 127.0.0.1: what is fetched, the cache, and every refusal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.paths import ROOT
from tests.small_hub import COMMIT, OLD_COMMIT, SmallHub, served
from tests.unit.models.tiny_checkpoints import write_llava, write_tokenizer

ASK = """
from common.cli import run
from common.files.hub import local, local_file, resolved
def main():
    print({how}({text!r}, "--llava_path"), dict(resolved()))
run(main)
"""
FILES = {
    "config.json": "{}",
    "tokenizer.model": "t",
    "model.safetensors": "x" * 5000,
    "pytorch_model.bin": "y",
    "tf_model.h5": "z",
    "README.md": "r",
    "original/consolidated.00.pth": "w",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    """A hub with a model in two forms, one that is gated, and one of two weight files."""
    model, parts = tmp_path / "model", tmp_path / "parts"
    for name, text in FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)
    parts.mkdir()
    for name in ("one.pth", "two.pth"):
        (parts / name).write_text(name)
    with served(SmallHub({"acme/tiny": model, "acme/locked": model, "acme/parts": parts}, gated={"acme/locked"})) as up:
        yield up


class Asked:
    """One question in a process of its own, as the library reads its variables when it is imported."""

    def __init__(self, text: str, home: Path, url: str, how: str = "local", **more: str) -> None:
        environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": url, **more}
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", ASK.format(how=how, text=text)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.seconds = time.monotonic() - start
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.strip()


def test_only_what_a_model_is_read_from_is_fetched_and_its_commit_is_known(hub: SmallHub, tmp_path: Path) -> None:
    asked = Asked("acme/tiny", tmp_path / "home", hub.url)
    assert asked.code == 0, asked.err
    assert sorted(hub.fetched()) == ["config.json", "model.safetensors", "tokenizer.model"]
    assert f"snapshots/{COMMIT}" in asked.out and f"'acme/tiny': '{COMMIT}'" in asked.out
    again = len(hub.fetched())
    assert Asked("acme/tiny", tmp_path / "home", hub.url).code == 0
    assert len(hub.fetched()) == again


def test_a_revision_and_a_single_file(hub: SmallHub, tmp_path: Path) -> None:
    old = Asked("acme/tiny@v1", tmp_path / "home", hub.url)
    assert f"'acme/tiny@v1': '{OLD_COMMIT}'" in old.out
    one = Asked("acme/parts/two.pth", tmp_path / "home", hub.url, "local_file")
    assert one.out.split()[0].endswith(f"{COMMIT}/two.pth") and f"'acme/parts/two.pth': '{COMMIT}'" in one.out
    both = Asked("acme/parts", tmp_path / "home", hub.url, "local_file")
    assert both.code == 2 and "acme/parts/FILE (there: one.pth, two.pth)" in both.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acme/none", "neither a file or folder here nor a repository of http://127.0.0.1"),
        ("acme/tiny@v9", "has no revision v9"),
        ("acme/locked", "is gated: accept its terms"),
        ("acme/parts/three.pth", "holds no file three.pth"),
    ],
)
def test_the_hubs_no_is_one_line(hub: SmallHub, tmp_path: Path, text: str, message: str) -> None:
    asked = Asked(text, tmp_path / "home", hub.url)
    lines = [line for line in asked.err.splitlines() if line.startswith("error: ")]
    assert asked.code == 2 and len(lines) == 1 and asked.err.endswith(lines[0])
    assert message in lines[0] and "--llava_path" in lines[0] and "Traceback" not in asked.err


def test_without_a_network_the_cache_is_taken(hub: SmallHub, tmp_path: Path) -> None:
    assert Asked("acme/tiny", tmp_path / "home", hub.url).code == 0
    for more in ({"HF_ENDPOINT": "http://127.0.0.1:1"}, {"HF_HUB_OFFLINE": "1"}):
        asked = Asked("acme/tiny", tmp_path / "home", **{"url": hub.url}, **more)
        assert asked.code == 0 and f"'acme/tiny': '{COMMIT}'" in asked.out and "taken from the cache" in asked.err


@pytest.mark.parametrize("more", [{"HF_ENDPOINT": "http://127.0.0.1:1"}, {"HF_HUB_OFFLINE": "1"}])
def test_without_network_and_cache_there_is_one_line_within_ten_seconds(more: dict[str, str], tmp_path: Path) -> None:
    asked = Asked("acme/tiny", tmp_path / "home", "http://127.0.0.1:1", **more)
    assert asked.code == 2 and asked.seconds < 10
    assert len(asked.err.splitlines()) == 1 and "does not hold it" in asked.err
    assert all(word in asked.err for word in ("HF_ENDPOINT", "HF_HOME", "local folder"))


@pytest.mark.slow
def test_a_download_that_broke_is_told_and_continued(hub: SmallHub, tmp_path: Path) -> None:
    hub.broken_after = 1000
    cut = Asked("acme/tiny", tmp_path / "home", hub.url, HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert cut.code == 2 and "could not be fetched whole" in cut.err.splitlines()[-1]
    offline = Asked("acme/tiny", tmp_path / "home", hub.url, HF_HUB_OFFLINE="1")
    assert offline.code == 2 and len(offline.err.splitlines()) == 1 and "holds only a part of it" in offline.err
    hub.broken_after = None
    assert Asked("acme/tiny", tmp_path / "home", hub.url).code == 0


def test_a_path_is_never_asked_of_the_hub(hub: SmallHub, tmp_path: Path) -> None:
    here = tmp_path / "acme" / "tiny"
    here.mkdir(parents=True)
    for text in (str(here), "./acme/tiny", "~/acme/tiny", "common/nothing_here"):
        asked = Asked(text, tmp_path / "home", hub.url)
        assert asked.out.split()[0] == text
    assert not hub.asked


@pytest.mark.slow
def test_a_script_takes_model_and_tower_from_the_hub(tmp_path: Path) -> None:
    """A checkpoint of the original layout whose config names its tower by id, as the published ones do."""
    write_tokenizer(tmp_path / "tokenizer.model")
    write_llava(tmp_path / "llava", tmp_path / "tokenizer.model")
    shutil.move(tmp_path / "llava" / "tower", tmp_path / "tower")
    config = json.loads((tmp_path / "llava" / "config.json").read_text())
    (tmp_path / "llava" / "config.json").write_text(json.dumps({**config, "mm_vision_tower": "acme/tower"}))
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((40, 40, 3), dtype=np.uint8)).save(tmp_path / "images" / "a_000000000001.png")
    out = tmp_path / "captions.jsonl"
    with served(SmallHub({"acme/llava": tmp_path / "llava", "acme/tower": tmp_path / "tower"})) as up:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": up.url}
        done = subprocess.run(
            [sys.executable, "insight/caption.py", "--llava_path", "acme/llava@main", "--device", "cpu",
             "--image_dir_path", str(tmp_path / "images"), "--caption_data_path", str(out), "--max_new_tokens", "4"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    notes = json.loads(Path(f"{out}.manifest.json").read_text())
    assert notes["hub"] == {"acme/llava@main": COMMIT, "acme/tower": COMMIT}
    assert notes["model_hash"] and notes["arguments"]["llava_path"] == "acme/llava@main"
