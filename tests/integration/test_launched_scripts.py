"""Scripts under a launcher: two processes write the bytes of one, and one process's worth of lines."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.paths import MINI_CLIP
from tests.forks.launchers import accelerate, torchrun

Way = Callable[[str, Sequence[str]], str]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Seven pictures, one of them of another size."""
    folder = tmp_path_factory.mktemp("world") / "images"
    folder.mkdir()
    for i in range(7):
        pixels = np.random.default_rng(i).integers(0, 255, (24 + 8 * (i == 3), 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((224, 200)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Way:
    """Run a script by itself, in this process; what it printed on standard error."""

    def script(module: str, words: Sequence[str]) -> str:
        monkeypatch.setattr("sys.argv", [module, *words])
        importlib.import_module(module).main()
        return capsys.readouterr().err

    return script


def script(way: Way, module: str, **flags: object) -> str:
    """Run a script; what it printed on standard error."""
    return way(module, [word for flag, value in flags.items() for word in (f"--{flag}", str(value))])


def captioned(way: Way, images: Path, target: Path) -> bytes:
    """Two sampled captions an image; one process speaks."""
    errors = script(
        way,
        "insight.caption",
        image_dir_path=images,
        caption_data_path=target,
        device="cpu",
        generate_num_beams=1,
        max_new_tokens=16,
        captions_per_image=2,
        do_sample="true",
    )
    assert errors.count("captioning 7 images") == 1
    return target.read_bytes()


def test_captions_objects_and_scores(images: Path, tmp_path: Path, alone: Way) -> None:
    thresholds = {f"{name}_clip_thres": "auto" for name in ("hal", "norm", "sentence")}
    for kind, way in (("one", alone), ("two", torchrun)):
        folder = tmp_path / kind
        folder.mkdir()
        captioned(way, images, folder / "captions.jsonl")
        script(
            way,
            "insight.object",
            caption_data_path=folder / "captions.jsonl",
            object_data_path=folder / "objects.jsonl",
        )
        script(
            way,
            "insight.clip",
            object_data_path=folder / "objects.jsonl",
            image_dir_path=images,
            score_data_path=folder / "scores.jsonl",
            clip_model=MINI_CLIP,
            clip_bs=2,
            device="cpu",
            **thresholds,
        )
    by_accelerate = captioned(accelerate, images, tmp_path / "captions.jsonl")
    assert by_accelerate == (tmp_path / "one" / "captions.jsonl").read_bytes()
    for name in ("captions", "objects", "scores"):
        one, two = (tmp_path / kind / f"{name}.jsonl" for kind in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    assert len((tmp_path / "two" / "captions.jsonl").read_text().splitlines()) == 14
    assert not [p for p in (tmp_path / "two").iterdir() if ".part-" in p.name or p.suffix == ".lock"]


def test_answers_to_questions_and_captions_to_evaluate(images: Path, tmp_path: Path, alone: Way) -> None:
    questions = tmp_path / "coco_pope_random.json"
    rows = [
        {"question_id": i, "image": f"{i % 7}.png", "text": f"Is there a {thing} in the image?", "label": "no"}
        for i, thing in enumerate(["dog", "cat", "table", "car", "chair", "bus", "kite", "cup", "boat", "horse"])
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind, way in (("one", alone), ("two", torchrun)):
        answers, captions = tmp_path / f"{kind}.jsonl", tmp_path / f"{kind}_eval.jsonl"
        flags = {"question_path": questions, "image_dir_path": images, "answers_save_path": answers, "device": "cpu"}
        script(way, "evaluate.eval_pope", result_path=tmp_path / f"{kind}.json", max_new_tokens=4, **flags)
        flags = {"image_dir_path": images, "caption_eval_path": captions, "device": "cpu"}
        script(way, "evaluate.eval_caption", generate_num_beams=2, max_new_tokens=12, **flags)
    for ending in (".jsonl", "_eval.jsonl"):
        assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()
    one, two = (json.loads((tmp_path / f"{kind}.json").read_text())["scores"] for kind in ("one", "two"))
    assert one == two
