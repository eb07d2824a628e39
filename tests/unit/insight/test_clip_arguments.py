"""What `insight/clip.py` takes when something is not given."""

from __future__ import annotations

import pytest

from common import mini_world
from common.errors import ArgumentError, DataError
from common.mini_world import MiniWorld
from common.paths import MINI_CLIP
from insight.scores.clip_arguments import ClipArguments, plan


@pytest.fixture
def world(tmp_path, monkeypatch) -> MiniWorld:
    """A mini world whose objects exist, in a folder of its own; making anything else is recorded."""
    world = MiniWorld(tmp_path / "world")
    monkeypatch.setattr("insight.scores.clip_arguments.MiniWorld", lambda: world)
    monkeypatch.setattr(mini_world, "ensure", lambda *_, **__: None)
    world.root.mkdir()
    world.objects.write_text("")
    return world


def test_without_objects_everything_is_the_mini_world_and_that_is_said_in_one_line(world, capsys):
    chosen = plan(ClipArguments())
    assert (chosen.objects, chosen.images, chosen.scores) == (world.objects, world.train_images, world.scores)
    assert chosen.annotations == world.train_annotations
    assert (chosen.model, chosen.pretrained, chosen.mini) == (str(MINI_CLIP), None, True)
    assert chosen.figure.parent == world.scores.parent
    assert capsys.readouterr().err.splitlines() == ["no --object_data_path: using the built-in mini world"]


def test_own_objects_take_nothing_from_the_mini_world(tmp_path, capsys):
    objects = tmp_path / "o.jsonl"
    objects.write_text("")
    chosen = plan(ClipArguments(object_data_path=str(objects), image_dir_path=str(tmp_path)))
    assert (chosen.model, chosen.pretrained, chosen.mini) == ("ViT-B-32", "openai", False)
    assert chosen.annotations is None
    assert chosen.scores == tmp_path / "scores.jsonl"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("world")
def test_gold_objects_replace_the_annotations_of_the_mini_world():
    assert plan(ClipArguments(gold_objects_path="gold.json")).annotations is None


@pytest.mark.usefixtures("world")
def test_another_model_brings_no_weights_of_its_own():
    assert plan(ClipArguments(clip_model="ViT-L-14")).pretrained is None
    assert plan(ClipArguments(clip_model="ViT-L-14", clip_pretrained="openai")).pretrained == "openai"


def test_missing_parts_and_senseless_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no file .*o\.jsonl \(from --object_data_path\)"):
        plan(ClipArguments(object_data_path=str(tmp_path / "o.jsonl")))
    for name in ("clip_patch", "clip_span", "clip_best", "clip_bs"):
        with pytest.raises(ArgumentError, match=f"--{name} is 0"):
            ClipArguments(**{name: 0}).settings()


def test_auto_device_and_type_follow_the_machine(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ClipArguments().device_and_dtype() == ("cpu", "float32")
    assert ClipArguments(clip_dtype="bfloat16").device_and_dtype() == ("cpu", "bfloat16")
    with pytest.raises(ArgumentError, match=r"no device cuda .*0 GPUs"):
        ClipArguments(device="cuda").device_and_dtype()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert ClipArguments().device_and_dtype() == ("cuda", "bfloat16")
