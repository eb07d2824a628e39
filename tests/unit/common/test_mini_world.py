"""The mini world as default: which step makes which file, and what happens when one fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common import mini_world
from common.args import ModelArguments
from common.errors import ArgumentError, DataError, DryRunEnds
from common.identity import images_identity, inputs_identity
from common.manifest import manifest_path, write_manifest
from common.mini_world import MiniWorld, default_path, ensure, is_mini_model, model_path
from common.outputs.settings import note_settings
from common.paths import MINI_LLAVA

WORLD = MiniWorld()
FILES = ("captions", "objects", "scores", "pos_neg", "sentences", "eval_captions")
FOLDERS = ("train_images", "train_annotations", "eval_images", "eval_annotations")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; all of them succeed."""
    made: list[list[str]] = []

    def fake(command: list[str], **_: Any) -> SimpleNamespace:
        made.append(command[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(mini_world.subprocess, "run", fake)
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    return made


@pytest.mark.parametrize("name", FILES + FOLDERS)
def test_every_default_has_a_step_that_exists(name: str) -> None:
    step = WORLD.step_that_makes(getattr(WORLD, name))
    assert step is not None
    assert (mini_world.ROOT / (step[0].replace(".", "/") + ".py")).is_file()


def test_a_missing_file_is_made_by_its_step(calls: list[list[str]]) -> None:
    ensure(WORLD.captions)
    assert calls[0][:2] == ["-m", "insight.caption"]
    assert calls[0][calls[0].index("--captions_per_image") + 1] == "2"


def test_files_of_other_places_are_nobodys_to_make(calls: list[list[str]], tmp_path: Path) -> None:
    ensure(tmp_path / "captions.jsonl")
    assert calls == []


def test_a_failed_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_world.subprocess, "run", lambda *_a, **_k: SimpleNamespace(returncode=3))
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    with pytest.raises(DataError, match=r"insight\.clip failed with code 3"):
        ensure(WORLD.scores)


def test_a_model_of_ones_own_needs_paths_of_ones_own() -> None:
    with pytest.raises(DataError, match="--image_dir_path is needed"):
        default_path(None, False, WORLD.train_images, "--image_dir_path")
    assert default_path("here", False, WORLD.train_images, "--image_dir_path") == Path("here")


def test_only_llava_without_a_path_is_the_bundled_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_path(ModelArguments()) == MINI_LLAVA
    assert "using the bundled" in capsys.readouterr().err
    assert not is_mini_model(ModelArguments(model="owl"))
    assert model_path(ModelArguments(llava_path="other")) == "other"


def test_long_and_short_paths_that_disagree_are_refused() -> None:
    with pytest.raises(ArgumentError, match="disagree"):
        model_path(ModelArguments(llava_path="a", model_path="b"))


def test_complete_is_what_its_manifest_says_to_be_whole(tmp_path: Path) -> None:
    """Not a file alone, as a kill leaves it, nor one of which a part was asked for."""
    world = MiniWorld(tmp_path)
    world.captions.write_text("{}\n")
    assert not world.is_complete(world.captions)
    for arguments, whole in (({"start_pos": 0, "end_pos": 100}, False), ({"start_pos": 0, "end_pos": -1}, True)):
        write_manifest(world.captions, {"arguments": arguments})
        assert world.is_complete(world.captions) == whole
    write_manifest(world.pos_neg, {"arguments": {}})
    assert not world.is_complete(world.pos_neg)
    for torn in ("[]", '{"argum', ""):
        manifest_path(world.captions).write_text(torn)
        assert not world.is_complete(world.captions)


def made(path: Path, settings: dict[str, Any], noted: dict[str, Any]) -> None:
    """A complete file, with what is noted beside it."""
    path.write_text(f"{path.name}\n")
    note_settings(path, settings)
    write_manifest(path, {"arguments": {"start_pos": 0, "end_pos": -1}, **noted})


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniWorld:
    """Images to spans, as the steps leave them; the default world."""
    world = MiniWorld(tmp_path)
    for folder in (world.train_images, world.eval_images):
        folder.mkdir(parents=True)
        for name in ("1.png", "2.png", "3.png"):
            (folder / name).write_text(name)
    names = ("1.png", "2.png", "3.png")
    made(world.captions, images_identity(world.train_images, names), {})
    made(world.eval_captions, images_identity(world.eval_images, names[:2]), {})  # --default_eval_samples 2
    made(world.objects, {}, inputs_identity(captions=world.captions))
    made(world.scores, inputs_identity(objects=world.objects), {})
    made(world.own_answers, {}, inputs_identity(objects=world.objects))
    for path in (world.pos_neg, world.sentences, world.repaired):
        made(path, {}, inputs_identity(scores=world.scores))
    monkeypatch.setattr(mini_world, "MiniWorld", lambda: world)
    return world


ALL = ("captions", "eval_captions", "objects", "scores", "own_answers", "pos_neg", "sentences", "repaired")


def test_files_that_belong_together_are_taken(chain: MiniWorld) -> None:
    for name in ALL:
        ensure(getattr(chain, name))
        assert chain.outdated(getattr(chain, name)) is None


@pytest.mark.parametrize(
    ("changed", "old"),
    [
        ("train/images/2.png", ("captions", "objects", "scores", "own_answers", "pos_neg", "sentences", "repaired")),
        ("train/images/4.png", ("captions", "objects", "scores", "own_answers", "pos_neg", "sentences", "repaired")),
        ("eval/images/1.png", ("eval_captions",)),
        ("captions.jsonl", ("objects", "scores", "own_answers", "pos_neg", "sentences", "repaired")),
        ("objects.jsonl", ("scores", "own_answers", "pos_neg", "sentences", "repaired")),
        ("scores.jsonl", ("pos_neg", "sentences", "repaired")),
    ],
)
def test_what_was_made_from_something_else_is_refused(chain: MiniWorld, changed: str, old: tuple[str, ...]) -> None:
    """Also further down the way, whether or not anything would have to be made; and never made anew unasked."""
    (chain.root / changed).write_text("made again with other settings")
    for name in ALL:
        path = getattr(chain, name)
        before = path.read_bytes()
        if name in old:
            for dry in (False, True):
                with pytest.raises(DataError, match=f"was not made from what .*{Path(changed).name}|images holds now"):
                    ensure(path, dry)
        else:
            assert chain.outdated(path) is None
        assert path.read_bytes() == before


def test_what_an_earlier_version_did_not_note_is_passed_over(chain: MiniWorld) -> None:
    made(chain.objects, {}, {})
    chain.captions.write_text("made again")
    assert chain.outdated(chain.objects) is None


def test_images_are_complete_with_both_annotation_files(tmp_path: Path) -> None:
    """Which are written last, and go first where the split is drawn again."""
    world = MiniWorld(tmp_path)
    world.train_images.mkdir(parents=True)
    world.train_annotations.mkdir()
    for name in ("captions_train.json", "instances_train.json"):
        assert not world.is_complete(world.train_images)
        (world.train_annotations / name).write_text("{}")
    assert world.is_complete(world.train_images) and not world.is_complete(world.eval_images)


def test_a_dry_run_makes_nothing(calls: list[list[str]]) -> None:
    with pytest.raises(DryRunEnds, match=r"captions\.jsonl is not there yet: python -m insight\.caption"):
        default_path(None, True, WORLD.captions, "--caption_data_path", dry_run=True)
    assert calls == []


def test_an_interrupted_step_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_world.subprocess, "run", lambda *_a, **_k: SimpleNamespace(returncode=130))
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    with pytest.raises(KeyboardInterrupt):
        ensure(WORLD.scores)
