"""Training on a GPU: the host waits for nothing in a step, results are those of the CPU, a bad step is not applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from common.files.storage import read_json
from finetune.run.trainer import SpanTrainer
from finetune.train import main
from tests.training_world import World, log, make_world

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

PACKS = {"tokens_per_batch": 256, "train_bs": 4, "max_steps": 6, "compile": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two captions an image."""
    return make_world(tmp_path_factory.mktemp("train") / "world", captions=20, an_image=2)


def test_losses_are_those_of_the_cpu(world: World, tmp_path: Path) -> None:
    """In float32: several packs a step, padded to one length."""
    for device in ("cpu", "cuda"):
        main(world.train_flags(tmp_path / device, **PACKS, device=device, dtype="float32"))
    cpu, gpu = ([e for e in log(tmp_path / name) if "loss" in e] for name in ("cpu", "cuda"))
    for name in ("loss", "loss_pos", "loss_neg", "loss_sent"):
        assert [e[name] for e in gpu] == pytest.approx([e[name] for e in cpu], rel=1e-3)


def test_the_host_waits_for_nothing_in_a_step(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the third step on, when everything has been set up; batches come from page-locked memory."""
    step = SpanTrainer.training_step

    def watched(self: SpanTrainer, *args: Any, **kwargs: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error" if self.state.global_step > 1 else "default")
        try:
            return step(self, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(SpanTrainer, "training_step", watched)
    main(world.train_flags(tmp_path / "run", **PACKS, device="cuda", logging_steps=100, num_workers=2))
    assert (tmp_path / "run" / "trained.safetensors").exists()


def test_a_bad_step_is_found_late_and_never_applied(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is read when the next step has been queued; the saved state is that before the bad one."""
    compute = SpanTrainer.compute_loss

    def broken(self: SpanTrainer, *args: Any, **kwargs: Any) -> Any:
        loss, parts = compute(self, *args, **kwargs)
        return (loss * float("nan") if self.state.global_step == 2 else loss), parts

    flags = {**PACKS, "device": "cuda", "logging_steps": 100, "eval_steps": 100, "save_steps": 100}
    with monkeypatch.context() as patch, pytest.raises(UserError, match="not finite at step 3"):
        patch.setattr(SpanTrainer, "compute_loss", broken)
        main(world.train_flags(tmp_path / "run", **flags))
    assert read_json(tmp_path / "run" / "last.json")["step"] == 2
    main(world.train_flags(tmp_path / "two", **{**flags, "max_steps": 2}))
    kept = load_file(str(tmp_path / "run" / "checkpoint-000002" / "trained.safetensors"))
    for name, wanted in load_file(str(tmp_path / "two" / "trained.safetensors")).items():
        torch.testing.assert_close(kept[name], wanted, rtol=1e-3, atol=1e-5)
