"""Probes within a run: what they leave, that they disturb nothing, and that no kill changes what they decide."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, DataError, UserError
from common.files.storage import read_json, read_json_lines
from common.manifest import manifest_path
from common.objects.noted import NotedExtractor
from common.outputs.settings import settings_path
from finetune.probe.instruments import Instruments
from finetune.probe.measure import Measure
from finetune.probe.prober import Prober
from finetune.run.folder import RunFolder
from finetune.run.probing import Probing
from finetune.run.trainer import SpanTrainer
from finetune.train import main
from tests.forks.launchers import torchrun_code
from tests.training_world import World, bundled_scorer, log, make_world, note_scorer, weights

EVERY: dict[str, object] = {"probe_steps": 2, "probe_captions": 2}
BEST: dict[str, object] = {"keep": "best", "probe_patience": 9, **EVERY}


SHORT_CAPTIONS = """
from finetune import train
from finetune.probe import prober
prober.MOST_TOKENS = 20
train.main()
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Ten captions."""
    return note_scorer(make_world(tmp_path_factory.mktemp("probe") / "world"))


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extractor and scorer are the real ones, kept from test to test; the random model's captions never end."""
    quick(monkeypatch)


LOAD = Instruments.load


def quick(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instruments, "load", lambda *_: real_instruments())
    patch.setattr("finetune.probe.prober.MOST_TOKENS", 20)


@functools.cache
def real_instruments() -> Any:
    return LOAD(Instruments(bundled_scorer(), NotedExtractor()), "cpu", "float32")


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the best probe."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        main(world.train_flags(folder, **BEST))
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    return [value for _, value in read_json_lines(folder / "probe.jsonl")]


def scripted(shares: dict[int, float]) -> Callable[[Prober, int], Measure]:
    """A measure that has its shares by heart."""
    return lambda _, step: Measure(step, 4, 1, shares[step], 5.0, 4.0, 2.0, 40.0, 0.1)


def test_a_probe_disturbs_no_step_and_is_logged_and_drawn(world: World, tmp_path: Path) -> None:
    """Adapters with dropout draw random numbers at every step; the probes in between draw theirs."""
    dropout = {"trainable": "lora", "lora_dropout": 0.3}
    main(world.train_flags(tmp_path / "without", **dropout))
    main(world.train_flags(tmp_path / "with", **dropout, **EVERY))
    assert weights(tmp_path / "with") == weights(tmp_path / "without")
    found = lines(tmp_path / "with")
    assert [line["step"] for line in found] == [0, 2, 4, 6]
    assert all(line["captions"] == 4 and line["mentions"] > 0 for line in found)
    shares = [entry["probe_share"] for entry in log(tmp_path / "with") if "probe_share" in entry]
    assert shares == [line["share"] for line in found]
    assert (tmp_path / "with" / "probe.png").stat().st_size and "%" in (tmp_path / "with" / "probe.svg").read_text()


def test_the_best_weights_are_those_of_their_step(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the run ends two probes later, which the manifest and the log say; then it is finished."""
    monkeypatch.setattr(Prober, "measure", scripted({0: 0.5, 2: 0.3, 4: 0.1, 6: 0.4, 8: 0.4}))
    flags = world.train_flags(tmp_path / "run", **BEST | {"probe_patience": 2, "probe_retreats": 0}, max_steps=20)
    main(flags)
    said = capsys.readouterr().err
    assert "ended at step 8 of 20: 2 probes after step 4 have no lower share; kept step 4" in said
    assert [path.name for path in (tmp_path / "run").glob("best-*")] == ["best-000004"]
    notes = read_json(tmp_path / "run" / "trained.safetensors.manifest.json")
    assert notes["steps"] == 8 and notes["probe"]["kept_step"] == 4 and len(notes["probe"]["probes"]) == 5
    main(flags)
    assert "is finished (8 steps)" in capsys.readouterr().err
    (tmp_path / "run" / "trained.safetensors.manifest.json").unlink()  # as a kill before it would leave the run
    main(flags)
    assert read_json(tmp_path / "run" / "trained.safetensors.manifest.json")["probe"]["stopped"] in said
    main(world.train_flags(tmp_path / "plain", max_steps=4))
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")


def test_a_kill_after_the_deciding_probe_decides_alike(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint is not there yet, so steps 5 and 6 are made again; its line is, and it is not measured again."""
    flags = world.train_flags(
        tmp_path / "run", **BEST | {"probe_patience": 1, "probe_retreats": 0}, max_steps=20, save_steps=4
    )
    whole = RunFolder.add_checkpoint

    def killed(self: RunFolder, step: int, *rest: Any) -> Any:
        if step == 6:
            raise KeyboardInterrupt
        return whole(self, step, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Prober, "measure", scripted({0: 0.5, 2: 0.3, 4: 0.1, 6: 0.4}))
        patch.setattr(RunFolder, "add_checkpoint", killed)
        main(flags)
    monkeypatch.setattr(Prober, "measure", scripted({}))
    main(flags)
    notes = read_json(tmp_path / "run" / "trained.safetensors.manifest.json")
    assert notes["steps"] == 6 and notes["probe"]["kept_step"] == 4


@pytest.mark.parametrize(
    ("trained", "less", "onward", "said_of_it"),
    [
        (0.9, "weight_neg", 1 / 10, "negatives weigh a tenth of before"),
        (0.1, "learning_rate", 1 / 2, "the learning rate is half of before"),
    ],
)
def test_a_broken_bound_sends_the_run_back(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trained: float,
    less: str,
    onward: float,
    said_of_it: str,
) -> None:
    """To the best weights, with a new optimizer and less of what was too much; killed then, it goes on alike."""

    def far_at_4(_: Probing, step: int) -> Measure:
        far, share = step == 4, {0: 0.5, 2: 0.3}.get(step, 0.45)
        return Measure(step, 4, 1, share, 5.0, 4.0, 2.0, 10.0 if far else 40.0, 0.1, 0.5, trained if far else 0.5)

    monkeypatch.setattr(Probing, "_measure", far_at_4)
    linear = {"train_lr": 1e-2, "lr_scheduler_type": "linear", "max_steps": 8}
    main(world.train_flags(tmp_path / "run", **BEST, **linear))
    said = capsys.readouterr().err
    assert "step 4 breaks a bound: back to the weights of step 2" in said and "went back 1 times, after step 4" in said
    assert said.split("back to the weights of step 2, ")[1].startswith(said_of_it)
    left = [1, 7 / 8, 6 / 8, 5 / 8, 6 / 8, 6 / 8 * 3 / 4, 6 / 8 * 2 / 4, 6 / 8 / 4]  # at step 4 as after 2, then to 0
    for name, whole in (("weight_neg", [0.3] * 8), ("learning_rate", [1e-2 * share for share in left])):
        found = [entry[name] for entry in log(tmp_path / "run") if name in entry]
        lowered = onward if name == less else 1
        assert found == pytest.approx(whole[:4] + [lowered * value for value in whole[4:]])
    assert read_json(tmp_path / "run" / "trained.safetensors.manifest.json")["probe"]["retreats"] == [4]
    kept = (tmp_path / "run" / "checkpoint-000008" / "trained.safetensors").read_bytes()

    def killed(self: Probing, step: int) -> Measure:
        if step == 6:
            raise KeyboardInterrupt
        return far_at_4(self, step)

    flags = world.train_flags(tmp_path / "again", **BEST, **linear, save_steps=8)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Probing, "_measure", killed)
        main(flags)
    main(flags)
    assert "continuing at step 4" in capsys.readouterr().err  # written where the run went back
    assert (tmp_path / "again" / "checkpoint-000008" / "trained.safetensors").read_bytes() == kept


def test_nothing_better_than_the_start_keeps_the_start(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a rate of 0 nothing is learnt, and every probe, of the same random numbers, finds the same."""
    main(
        world.train_flags(
            tmp_path / "run", **BEST | {"probe_patience": 2, "probe_retreats": 0}, train_lr=0, max_steps=20
        )
    )
    assert "ended at step 4 of 20" in (said := capsys.readouterr().err) and "whose weights are kept" in said
    first, *rest = ({**line, "step": 0} for line in lines(tmp_path / "run"))
    assert rest == [first, first]


KILLS: dict[str, tuple[Any, str, int]] = {
    "before the best weights": (RunFolder, "add_best", 1),
    "before the second probe's line": (RunFolder, "keep_best", 1),
    "before the checkpoint of a probed step": (RunFolder, "add_checkpoint", 2),
    "before the last probe": (Prober, "measure", 4),
    "before the manifest": (SpanTrainer, "notes", 1),
}


@pytest.mark.parametrize("where", KILLS)
def test_killed_anywhere_the_same_command_leaves_the_same(
    world: World, undisturbed: Path, tmp_path: Path, where: str
) -> None:
    """Weights, probes, chart and what is said, byte for byte; checkpoints at steps 3 and 6, probes at 0, 2, 4, 6."""
    owner, name, times = KILLS[where]
    called, flags = 0, world.train_flags(tmp_path / "run", **BEST, save_steps=3)

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal called
        called += 1
        if called == times:
            raise KeyboardInterrupt
        return whole(self, *args, **kwargs)

    whole = getattr(owner, name)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, killed)
        main(flags)
    main(flags)
    for file in ("trained.safetensors", "probe.jsonl", "probe.svg", "probe.png"):
        assert (tmp_path / "run" / file).read_bytes() == (undisturbed / file).read_bytes(), file
    notes, same = (read_json(f / "trained.safetensors.manifest.json")["probe"] for f in (tmp_path / "run", undisturbed))
    assert {**notes, "seconds": 0} == {**same, "seconds": 0}
    assert len([entry for entry in log(tmp_path / "run") if "probe_share" in entry]) == 4


def _edited(file: Path) -> None:
    file.write_text(file.read_text().replace('"words": ', '"words": 1', 1))


@pytest.mark.parametrize(
    ("name", "harm", "named"),
    [
        ("probe.jsonl", _edited, r"probe\.jsonl: the probe of step 0 is not the one that the run made"),
        ("trained.safetensors", Path.unlink, "the weights of the best probe, is gone"),
        ("trained.safetensors", lambda file: file.write_bytes(file.read_bytes()[:500]), "cannot be read"),
    ],
)
def test_what_a_kill_did_not_leave_is_refused_before_a_step(
    world: World, undisturbed: Path, tmp_path: Path, name: str, harm: Callable[[Path], object], named: str
) -> None:
    """A probe that was edited, and best weights that are gone or torn; not at the end of the run."""
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.copy(settings_path(undisturbed), settings_path(tmp_path / "run"))
    manifest_path(tmp_path / "run" / "trained.safetensors").unlink()
    (best,) = (tmp_path / "run").glob("best-*")
    harm((tmp_path / "run" if name == "probe.jsonl" else best) / name)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"{named}.*--restart"):
        main(world.train_flags(tmp_path / "run", **BEST))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """With a rate of 0, as two processes round gradients otherwise; three images, so that shares are unequal."""
    world = note_scorer(make_world(tmp_path / "world", captions=15))
    same = {**BEST, "train_lr": 0, "max_steps": 2, "probe_steps": 1, "train_bs": 1}
    flags = world.train_flags(tmp_path / "two", **same)
    torchrun_code(SHORT_CAPTIONS, flags)
    main(world.train_flags(tmp_path / "one", **same))
    assert lines(tmp_path / "two") == lines(tmp_path / "one") and lines(tmp_path / "one")[0]["captions"] == 6


@pytest.mark.parametrize(
    ("more", "error", "named"),
    [
        ({"valid_data_split": 0, "pos_neg_data_path": "none.json"}, ArgumentError, "--valid_data_split 0"),
        ({"clip_model": "ViT-B-32"}, ArgumentError, "--clip_model ViT-B-32 is not the scorer"),
        ({"probe_steps": 0}, ArgumentError, "--probe_steps"),
        ({"keep": "first"}, ArgumentError, "--keep"),
    ],
)
def test_bad_input_ends_before_anything_is_written(
    world: World, tmp_path: Path, more: dict[str, object], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        main(world.train_flags(tmp_path / "run", **BEST | more))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("first", "second"), [({}, BEST), (BEST, {}), (EVERY, BEST)])
def test_a_run_is_not_continued_with_another_probe(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, object], second: dict[str, object]
) -> None:
    """Nor said to be finished."""
    monkeypatch.setattr(Prober, "measure", scripted({0: 0.5, 1: 0.5}))
    main(world.train_flags(tmp_path / "run", **first, max_steps=1))
    with pytest.raises(ArgumentError, match=r"was begun with (keep|probe_steps)"):
        main(world.train_flags(tmp_path / "run", **second, max_steps=1))


def test_a_model_that_names_nothing_is_not_probed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prober, "_judged", lambda *_: [])
    monkeypatch.setattr("finetune.probe.prober.measure", lambda step, *_: Measure(step, 4, 0, None, 0, 0, 0, 9.0, 0))
    with pytest.raises(DataError, match="the model names no object in its 4 captions"):
        main(world.train_flags(tmp_path / "run", **BEST))


def test_a_dry_run_says_what_probes_cost_and_writes_nothing(
    world: World, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*world.train_flags(tmp_path / "run", **BEST), "--dry_run"])
    assert "2 captions of 2 validation images" in (said := capsys.readouterr().err) and "4 probes, about" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match=r"cannot be extended .*the probe"):
        main(world.train_flags(undisturbed, **BEST, max_steps=8))
    with pytest.raises(ArgumentError, match=r"probe_max_word_loss 0\.3, now it is 0\.5"):
        main(world.train_flags(undisturbed, **BEST, probe_max_word_loss=0.5))
