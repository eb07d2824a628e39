"""`insight/caption.py` and `evaluate/eval_caption.py` on a tiny random LLaVA."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, CheckpointError, DataError, UserError
from common.files.record_files import read_captions
from common.files.storage import read_json
from common.prompts import CAPTION_EVAL, TRAIN
from evaluate.eval_caption import main as evaluate
from finetune.train import main as train
from insight.caption import main as caption
from tests.forks.scripts import Script, run
from tests.training_world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Ten images."""
    return make_world(tmp_path_factory.mktemp("captions") / "world")


def flags(world: World, **more: Any) -> list[str]:
    """Command line of a short captioning."""
    values: dict[str, Any] = {
        "llava_path": world.model,
        "llava_vit_path": world.model / "tower",
        "device": "cpu",
        "image_dir_path": world.images,
        "max_new_tokens": 12,
        "generate_num_beams": 1,
        "infer_bs": 3,
    }
    values |= more
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_captions_of_all_images_with_a_manifest(world: World, tmp_path: Path) -> None:
    """One an image, in the order of names, with the published training prompt noted."""
    out = tmp_path / "captions.jsonl"
    caption(flags(world, caption_data_path=out))
    assert [c.image_id for c in read_captions(out, allow_empty=True)] == list(range(10))
    notes = read_json(f"{out}.manifest.json")
    assert notes["prompt"] == TRAIN and notes["image_ids"] == list(range(10))
    assert notes["counts"]["captions"] == 10 and notes["decoding"]["max_new_tokens"] == 12


def test_several_sampled_captions_differ(world: World, tmp_path: Path) -> None:
    """Three an image, numbered."""
    out = tmp_path / "captions.jsonl"
    caption(flags(world, caption_data_path=out, captions_per_image=3, seed=4))
    found = read_captions(out, allow_empty=True)
    assert [(c.image_id, c.sample) for c in found] == [(i, s) for i in range(10) for s in range(3)]
    assert len({c.caption for c in found}) > 10


def test_a_beam_of_one_image_equals_that_of_a_batch(world: World, tmp_path: Path) -> None:
    """E8: batching changes nothing, five beams as published."""
    for size in (1, 4):
        caption(flags(world, caption_data_path=tmp_path / f"{size}.jsonl", infer_bs=size, generate_num_beams=5))
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "4.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"captions_per_image": 3}])
def test_sigkill_half_way_and_the_same_command_give_the_same_bytes(
    world: World, tmp_path: Path, more: dict[str, Any]
) -> None:
    """Killed after the first captions are there."""
    slow = {"max_new_tokens": 150, "infer_bs": 1, **more}
    caption(flags(world, caption_data_path=tmp_path / "whole.jsonl", **slow))
    out = tmp_path / "killed.jsonl"
    words = ["-m", "insight.caption", *flags(world, caption_data_path=out, **slow)]
    with Script(words) as script:
        end = time.monotonic() + 90
        while not out.exists() or not out.read_bytes().count(b"\n") >= 2:
            assert time.monotonic() < end and script.poll() is None
            time.sleep(0.01)
        script.kill()
    whole = (tmp_path / "whole.jsonl").read_bytes()
    assert len(out.read_bytes()) < len(whole)
    assert run(words).returncode == 0
    assert out.read_bytes() == whole


def test_evaluation_leaves_out_what_training_used(world: World, tmp_path: Path) -> None:
    """The first four images that are not in the training files."""
    used = json.loads(world.pos_neg.read_text(encoding="utf-8"))[:9]  # spans of three images
    (tmp_path / "used.json").write_text(json.dumps(used), encoding="utf-8")
    out = tmp_path / "captions.jsonl"
    evaluate(flags(world, caption_eval_path=out, pos_neg_data_path=tmp_path / "used.json", default_eval_samples=4))
    assert [c.image_id for c in read_captions(out, allow_empty=True)] == [3, 4, 5, 6]
    assert read_json(f"{out}.manifest.json")["prompt"] == CAPTION_EVAL


def test_t1_e9_a_checkpoint_is_evaluated_and_noted(world: World, tmp_path: Path) -> None:
    """The published loader evaluated the base model; here captions change, and the file is tied to its checkpoint."""
    used = {}
    for name, file in (("pos_neg_data_path", world.pos_neg), ("sentence_data_path", world.sentences)):
        samples = json.loads(file.read_text(encoding="utf-8"))
        some = sorted({sample["image"] for sample in samples})[:7]
        used[name] = tmp_path / file.name
        used[name].write_text(json.dumps([s for s in samples if s["image"] in some]), encoding="utf-8")
    train(world.train_flags(tmp_path / "run", max_steps=20, train_lr=0.05, **used))
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    evaluate(flags(world, caption_eval_path=before, **used))
    evaluate(flags(world, caption_eval_path=after, llava_ckpt_load_path=tmp_path / "run", **used))
    texts = [[c.caption for c in read_captions(p, allow_empty=True)] for p in (before, after)]
    assert texts[0] != texts[1]
    hashes = [read_json(f"{p}.manifest.json")["checkpoint_hash"] for p in (before, after)]
    assert hashes[0] is None and len(hashes[1]) == 64
    with pytest.raises(ArgumentError, match="begun with checkpoint_hash None"):
        evaluate(flags(world, caption_eval_path=before, llava_ckpt_load_path=tmp_path / "run", **used))
    with pytest.raises(CheckpointError, match="no trained checkpoint"):
        evaluate(flags(world, caption_eval_path=tmp_path / "x.jsonl", llava_ckpt_load_path=tmp_path / "none"))


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"image_dir_path": "nowhere"}, DataError, r"no folder nowhere \(from --image_dir_path\)"),
        ({"model": "lava"}, ArgumentError, "lava"),
        ({"llava_path": "nowhere"}, CheckpointError, "nowhere"),
        ({"infer_bs": 0}, ArgumentError, "--infer_bs is '0'"),
        ({"imagedir": "x"}, ArgumentError, "unknown flag --imagedir"),
    ],
)
@pytest.mark.parametrize("script", ["caption", "evaluate"])
def test_bad_input_is_one_line_and_writes_nothing(
    world: World, tmp_path: Path, script: str, more: dict[str, Any], kind: type[UserError], words: str
) -> None:
    """Names the value and where it came from."""
    out = tmp_path / "captions.jsonl"
    target = {"caption_data_path" if script == "caption" else "caption_eval_path": out}
    with pytest.raises(kind, match=words) as error:
        (caption if script == "caption" else evaluate)(flags(world, **target, **more))
    assert "\n" not in str(error.value) and not out.exists()


def test_a_target_is_needed_for_a_model_of_ones_own(world: World) -> None:
    """The mini world's file is not written by others."""
    with pytest.raises(ArgumentError, match="--caption_data_path"):
        caption(flags(world))
    with pytest.raises(ArgumentError, match="--caption_eval_path"):
        evaluate(flags(world))
