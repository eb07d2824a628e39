"""Training and captioning through the same scripts with a tiny checkpoint of every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.forks.scripts import run
from tests.unit.models.tiny_auto import write_auto
from tests.unit.models.tiny_checkpoints import write_llava, write_owl, write_tokenizer
from tests.unit.models.tiny_minigpt import write_minigpt

CAPTION = "A dog, and a red bench. There is a cat."
Writer = Callable[[Path, Path], object]
WRITERS: dict[str, Writer] = {
    "llava": lambda folder, tokenizer: write_llava(folder, tokenizer),
    "share4v": lambda folder, tokenizer: write_llava(folder, tokenizer, "share4v"),
    "owl": write_owl,
    "minigpt": write_minigpt,
    "auto": lambda folder, _: write_auto(folder, "idefics3"),
}


def script(name: str, *arguments: str) -> None:
    """Run a script of the repository; its own words are the message if it fails."""
    done = run([name, *arguments])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, spans and whole captions."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    names = [f"image_{i:012d}.png" for i in range(24)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / "images" / name)
    spans = [
        {"image": name, "sentence": CAPTION[:end], "position": start, "score": score}
        for name in names
        for start, end, score in ((0, 6, 40.0), (6, 22, 15.0))
    ]
    (folder / "pos_neg.json").write_text(json.dumps(spans))
    whole = [{"image": name, "sentence": CAPTION, "mean": 30.0, "min": 26.0} for name in names]
    (folder / "sentences.json").write_text(json.dumps(whole))
    write_tokenizer(folder / "tokenizer.model")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WRITERS))
def test_a_family_trains_and_captions(name: str, data: Path, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "base", data / "tokenizer.model")
    model = ("--model", name, "--model_path", str(tmp_path / "base"), "--device", "cpu")
    images = ("--image_dir_path", str(data / "images"))
    sets = ("--pos_neg_data_path", str(data / "pos_neg.json"), "--sentence_data_path", str(data / "sentences.json"))
    run = ("--max_steps", "2", "--report_to", "none", "--image_cache_mb", "64")
    script("finetune/train.py", *model, *images, *sets, *run, "--ckpt_save_path", str(tmp_path / "trained"))
    assert (tmp_path / "trained" / "trained.safetensors").is_file()
    out = tmp_path / "captions.jsonl"
    trained = ("--ckpt_load_path", str(tmp_path / "trained"))
    script("insight/caption.py", *model, *images, *trained, "--caption_data_path", str(out), "--max_new_tokens", "4")
    assert len(out.read_text(encoding="utf-8").splitlines()) == 24
