"""`finetune/train.py`: killed and continued, begun again, spread over processes; always the same result."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, DataError
from common.files.storage import read_json
from common.outputs.settings import settings_path
from finetune.train import main
from tests.forks.launchers import accelerate, torchrun
from tests.forks.scripts import Script, run
from tests.training_world import World, log, make_world, weights

# Every step takes a moment more, so that the kill falls into the run.
SLOWLY = """
import time
from finetune import train
from finetune.steps.collate import Collator
call = Collator.__call__
Collator.__call__ = lambda self, items: (time.sleep(0.05), call(self, items))[1]
train.main()
"""


@pytest.mark.slow
def test_t10_sigkill_half_way_and_the_same_command_give_the_same_bytes(
    world: World, undisturbed: Path, tmp_path: Path
) -> None:
    """Killed after the third checkpoint of six, while running on."""
    folder = tmp_path / "run"
    words = world.train_flags(folder, max_steps=30, save_steps=5)
    with Script(["-c", SLOWLY, *words]) as script:
        _wait_for(folder / "checkpoint-000015" / "trainer_state.json", script)
        script.kill()
    assert not (folder / "trained.safetensors").exists()
    stopped = read_json(folder / "last.json")
    assert stopped["finished"] is False and stopped["step"] < 30
    assert run(["-m", "finetune.train", *words]).returncode == 0
    assert weights(folder) == weights(undisturbed)
    assert read_json(folder / "split.json") == read_json(undisturbed / "split.json")


def _wait_for(path: Path, script: Script, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end and script.poll() is None, f"{path} did not appear: {script.said()}"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "more",
    [
        {"sampling": "paper"},
        {"objective": "npo", "train_epoch": 2, "max_steps": -1},
        {"preset": "release", "gold_w": 0, "gradient_accumulation_steps": 2, "lr_scheduler_type": "linear"},
        {"tokens_per_batch": 250, "train_bs": 0, "max_steps": -1, "train_epoch": 3},
        {"tokens_per_batch": 130, "train_bs": 4, "num_workers": 1},
    ],
    ids=["paper", "npo", "accumulation", "token_steps", "several_packs"],
)
def test_t10_continued_in_the_middle_of_an_epoch_bit_for_bit(
    world: World, tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every way of sampling, a reference, a schedule, accumulation, packs: killed at step 3, checkpoint at 2."""
    from finetune.run.trainer import SpanTrainer

    main(world.train_flags(tmp_path / "whole", **more))
    compute = SpanTrainer.compute_loss

    def killed(self: SpanTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SpanTrainer, "compute_loss", killed)
        main(world.train_flags(tmp_path / "killed", **more))
    assert read_json(tmp_path / "killed" / "last.json")["step"] == 2
    main(world.train_flags(tmp_path / "killed", **more))
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_t11_seed_fixes_the_run_and_the_split(world: World, tmp_path: Path) -> None:
    """Two runs of one seed are equal, another seed trains on other images."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        main(world.train_flags(tmp_path / name, seed=seed))
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    split = read_json(tmp_path / "a" / "split.json")
    assert len(split["valid"]) == 2 and not {*split["valid"]} & {*split["train"]}
    assert read_json(tmp_path / "c" / "split.json")["valid"] != split["valid"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "more"),
    [(torchrun, {}), (accelerate, {}), (torchrun, {"tokens_per_batch": 180})],
    ids=["torchrun", "accelerate", "several_packs"],
)
def test_two_processes_make_the_steps_of_one(
    tmp_path: Path, launch: Callable[[str, list[str]], str], more: dict[str, Any]
) -> None:
    """Two images each are a batch of four: same losses at every step, however many captions and packs they have."""
    world = make_world(tmp_path / "world", captions=21, an_image=2)
    flags = world.train_flags(tmp_path / "two", train_bs=2, max_steps=4, **more)
    assert "process group" not in launch("finetune.train", flags)  # that it was not destroyed
    main(world.train_flags(tmp_path / "one", train_bs=4, max_steps=4, **more))
    two, one = ([e for e in log(tmp_path / name) if "loss" in e] for name in ("two", "one"))
    assert len(two) == len(one) == 4
    for name in ("loss", "loss_pos", "loss_neg", "loss_sent"):
        assert [e[name] for e in two] == pytest.approx([e[name] for e in one], rel=1e-5)


@contextmanager
def _launched(flags: list[list[str]]) -> Iterator[list[Script]]:
    """A process for each list of flags, numbered as a launcher does, with no launcher that would end the others."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(flags))}
    script = SLOWLY.replace("train.main()", "from common.cli import run; run(train.main)")
    with ExitStack() as stack:
        yield [
            stack.enter_context(Script(["-c", script, *given], environment={**shared, "RANK": str(rank)}))
            for rank, given in enumerate(flags)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_is_named_by_the_other(world: World, tmp_path: Path, dies: int) -> None:
    """In one line, whoever it is; the checkpoints stay."""
    folder = tmp_path / "run"
    flags = world.train_flags(folder, max_steps=300, save_steps=5)
    with _launched([flags, flags]) as both:
        _wait_for(folder / "last.json", both[0])
        both[dies].kill()
        assert both[1 - dies].wait(60) == 2
        errors = both[1 - dies].said()[1]
    said = [line for line in errors.splitlines() if "error" in line.lower()]
    assert len(said) == 1 and f"error: process {dies} of 2" in said[0], errors
    assert "died" in said[0] and "Traceback" not in errors
    assert read_json(folder / "last.json")["step"] >= 5


@pytest.mark.slow
def test_processes_with_other_settings_are_refused(world: World, tmp_path: Path) -> None:
    """Before anything is written."""
    flags = [world.train_flags(tmp_path / "run", train_lr=lr) for lr in (1e-3, 2e-3)]
    with _launched(flags) as both:
        assert [script.wait(100) for script in both] == [2, 2]
        errors = both[0].said()[1]
    assert "process 1 of 2" in errors and "has train_lr 0.002" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_sharded_weights_are_refused(
    variable: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ArgumentError, match="--multi_gpu"):
        main(world.train_flags(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_with_a_pack_each_accumulate_two_packs(world: World, tmp_path: Path) -> None:
    """Token steps: the order of the packs is that of one process."""
    tokens = {"tokens_per_batch": 250, "train_bs": 0, "max_steps": 3}
    flags = world.train_flags(tmp_path / "two", **tokens)
    torchrun("finetune.train", flags)
    main(world.train_flags(tmp_path / "one", **tokens, gradient_accumulation_steps=2))
    two, one = ([e for e in log(tmp_path / name) if "loss" in e] for name in ("two", "one"))
    for name in ("loss", "grad_norm", "loss_neg"):
        assert [e[name] for e in two] == pytest.approx([e[name] for e in one], rel=1e-5)


@pytest.mark.parametrize("more", [{"tokens_per_batch": 130}, {"tokens_per_batch": 180}, {"tokens_per_batch": 5000}])
def test_the_size_of_packs_changes_no_step(world: World, tmp_path: Path, more: dict[str, Any]) -> None:
    """With --train_bs it bounds the memory; the steps stay what they are."""
    for name, given in (("plain", {}), ("packs", more)):
        main(world.train_flags(tmp_path / name, train_bs=4, max_steps=4, **given))
    plain, packs = ([e for e in log(tmp_path / name) if "loss" in e] for name in ("plain", "packs"))
    for name in ("loss", "grad_norm", "loss_neg"):
        assert [e[name] for e in packs] == pytest.approx([e[name] for e in plain], rel=2e-5)


def test_features_on_disk_change_no_bit(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether read from the folder, by this process or another, or made anew."""
    folder = {"cache_image_features": tmp_path / "features"}
    main(world.train_flags(tmp_path / "memory"))
    main(world.train_flags(tmp_path / "filled", **folder))
    assert "0 of 10 are in" in capsys.readouterr().err
    main(world.train_flags(tmp_path / "read", **folder, image_cache_mb=0))
    assert "10 of 10 are in" in capsys.readouterr().err
    main(world.train_flags(tmp_path / "workers", **folder, num_workers=1))
    assert len({weights(tmp_path / name) for name in ("memory", "filled", "read", "workers")}) == 1


def test_accumulated_batches_make_the_step_of_one(world: World, tmp_path: Path) -> None:
    """Twice one caption is once two."""
    main(world.train_flags(tmp_path / "twice", train_bs=1, gradient_accumulation_steps=2, max_steps=3))
    main(world.train_flags(tmp_path / "once", train_bs=2, max_steps=3))
    losses = [[e["loss"] for e in log(tmp_path / name) if "loss" in e] for name in ("twice", "once")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3


def test_a_finished_run_is_not_run_again(world: World, undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command says so; other settings are refused; --dry_run changes nothing."""
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    flags = world.train_flags(undisturbed, max_steps=30, save_steps=5)
    main(flags)
    assert "is finished (30 steps)" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match=r"train_lr 0\.001, now it is 0\.002"):
        main(world.train_flags(undisturbed, max_steps=30, train_lr=0.002))
    main([*world.train_flags(undisturbed, max_steps=30, train_lr=0.002), "--dry_run"])
    shown = capsys.readouterr().err
    assert "8 captions, 24 samples" in shown and "30 steps" in shown
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before


def test_restart_with_bad_data_keeps_the_earlier_run(world: World, tmp_path: Path) -> None:
    """An empty set is found before anything is removed."""
    main(world.train_flags(tmp_path / "run", max_steps=1))
    before = weights(tmp_path / "run")
    with pytest.raises(DataError, match="positive set is empty"):
        main([*world.train_flags(tmp_path / "run", max_steps=1, norm_clip_thres=99), "--restart"])
    assert weights(tmp_path / "run") == before
    main([*world.train_flags(tmp_path / "run", max_steps=2), "--restart"])
    assert weights(tmp_path / "run") != before


@pytest.mark.parametrize("more", [{}, {"objective": "npo"}, {"cache_image_features": "features"}])
def test_a_dry_run_writes_nothing_and_is_in_nobodys_way(world: World, tmp_path: Path, more: dict[str, Any]) -> None:
    """No folder, no reference, no features; the run after it is an ordinary one."""
    more = {name: tmp_path / value if name == "cache_image_features" else value for name, value in more.items()}
    main([*world.train_flags(tmp_path / "new" / "run", max_steps=2, **more), "--dry_run"])
    assert list(tmp_path.iterdir()) == []
    main(world.train_flags(tmp_path / "new" / "run", max_steps=2, **more))
    assert weights(tmp_path / "new" / "run")


def test_a_kill_before_the_manifest_is_mended(world: World, undisturbed: Path, tmp_path: Path) -> None:
    """The run was finished, but had not said so."""
    folder, manifest = tmp_path / "run", "trained.safetensors.manifest.json"
    shutil.copytree(undisturbed, folder)
    shutil.copy(settings_path(undisturbed), settings_path(folder))
    (folder / manifest).unlink()
    main(world.train_flags(folder, max_steps=30, save_steps=5))
    assert weights(folder) == weights(undisturbed)
    assert [entry["loss"] for entry in log(folder) if "loss" in entry] == [
        entry["loss"] for entry in log(undisturbed) if "loss" in entry
    ]


def test_other_pixels_and_4_bits_are_other_runs(tmp_path: Path) -> None:
    """Under the same names."""
    again = make_world(tmp_path / "world")
    main(again.train_flags(tmp_path / "run", max_steps=2))
    with pytest.raises(ArgumentError, match="load_in_4bit False, now it is True"):
        main([*again.train_flags(tmp_path / "run", max_steps=2), "--load_in_4bit"])
    (again.images / "000000000003.png").write_bytes((again.images / "000000000004.png").read_bytes())
    with pytest.raises(ArgumentError, match="images_sha256"):
        main(again.train_flags(tmp_path / "run", max_steps=2))


def test_weights_that_are_read_are_not_written_over(world: World, undisturbed: Path) -> None:
    """--restart would remove them before they are read."""
    before = weights(undisturbed)
    for given in (undisturbed, undisturbed / "trained.safetensors"):
        with pytest.raises(ArgumentError, match="choose another folder with --llava_ckpt_save_path"):
            main([*world.train_flags(undisturbed, llava_ckpt_load_path=given), "--restart"])
    assert weights(undisturbed) == before


@pytest.mark.slow
def test_a_longer_run_goes_on_and_ends_as_if_it_had_been_so_long(
    world: World, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte; a dry run in between changes nothing."""
    folder = tmp_path / "run"
    main(world.train_flags(folder, max_steps=20, save_steps=5))
    short = weights(folder)
    main(world.train_flags(folder, max_steps=30, save_steps=5, dry_run=True))
    assert weights(folder) == short
    capsys.readouterr()
    main(world.train_flags(folder, max_steps=30, save_steps=5))
    said = capsys.readouterr().err
    assert "run is made longer" in said and "continuing at step 20 of 30" in said
    assert weights(folder) == weights(undisturbed)
    with pytest.raises(ArgumentError, match="was begun with --max_steps 30, now it is --max_steps 20"):
        main(world.train_flags(folder, max_steps=20, save_steps=5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "reason"),
    [({"lr_scheduler_type": "linear"}, "--lr_scheduler_type linear"), ({"neg_w_end": 0}, "--neg_w_start, --neg_w_end")],
)
def test_a_run_with_a_schedule_is_not_extended(world: World, tmp_path: Path, more: dict[str, Any], reason: str) -> None:
    main(world.train_flags(tmp_path / "run", max_steps=2, **more))
    with pytest.raises(ArgumentError, match=f"cannot be extended .*{reason}"):
        main(world.train_flags(tmp_path / "run", max_steps=4, **more))
    with pytest.raises(ArgumentError, match="train_lr"):
        main(world.train_flags(tmp_path / "run", max_steps=4, train_lr=0.5, **more))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_a_run_whose_processes_are_stopped_says_one_line(
    number: signal.Signals | None, world: World, tmp_path: Path
) -> None:
    """Ctrl-C and SIGTERM reach those that open images too, and first; one of them that is killed alone is named."""
    with Script(
        ["-m", "finetune.train", *world.train_flags(tmp_path / "run", max_steps=3000, num_workers=2)]
    ) as script:
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "last.json").exists() and script.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        threads = Path(f"/proc/{script.pid}/task").iterdir()
        workers = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
        assert len(workers) == 2
        for pid in workers[-1:] if number is None else [*workers, script.pid]:
            os.kill(pid, number or signal.SIGKILL)
        code, said = script.wait(20), script.said()[1]
    assert "Traceback" not in said and "Exception" not in said, said[-2000:]
    if number is None:
        assert code == 2 and "error: a process that opens images died" in said
    else:
        assert code == 130 and "interrupted; run the same command again to continue" in said
