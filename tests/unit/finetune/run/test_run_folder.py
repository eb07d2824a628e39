"""The run folder and the training state: whole checkpoints, a pointer, no pickle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import CheckpointError, DataError
from finetune.run.folder import Pointer, RunFolder
from finetune.run.state import load_generators, load_state, save_state


def write(folder: Path) -> None:
    """A checkpoint of one file."""
    (folder / "weights").write_text("w", encoding="utf-8")


def test_t9_the_last_checkpoint_is_the_one_pointed_to(tmp_path: Path) -> None:
    """Named by global step and ordered by number, not by name, also past a million; two are kept."""
    folder = RunFolder(tmp_path / "run")
    for step in (999_998, 999_999, 1_000_000):
        folder.add_checkpoint(step, write)
    assert folder.pointer() == Pointer(1_000_000, finished=False)
    assert sorted(p.name for p in folder.path.glob("checkpoint-*")) == ["checkpoint-1000000", "checkpoint-999999"]


def test_t10_a_checkpoint_that_was_being_written_does_not_count(tmp_path: Path) -> None:
    """Killed while writing: the pointer still names the one before, and the remains go with the next."""
    folder = RunFolder(tmp_path / "run")
    folder.add_checkpoint(2, write)

    def killed(path: Path) -> None:
        write(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.add_checkpoint(4, killed)
    assert folder.pointer() == Pointer(2, finished=False)
    assert not folder.checkpoint(4).exists()
    folder.add_checkpoint(4, write)
    assert folder.pointer() == Pointer(4, finished=False)
    assert sorted(p.name for p in folder.path.iterdir()) == ["checkpoint-000002", "checkpoint-000004", "last.json"]


def test_split_is_kept_and_must_agree(tmp_path: Path) -> None:
    """T11: a continued run may not leak validation images into training."""
    folder = RunFolder(tmp_path)
    folder.keep_split(0, ["b", "a"], ["c"])
    folder.keep_split(0, ["a", "b"], ["c"])
    with pytest.raises(DataError, match="other images"):
        folder.keep_split(0, ["a", "c"], ["b"])


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    """Nothing of the user's is overwritten."""
    (tmp_path / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="ckpt_save_path"):
        RunFolder(tmp_path).check()


def test_restart_removes_the_runs_own_files_alone(tmp_path: Path) -> None:
    """A note that the user put beside stays."""
    folder = RunFolder(tmp_path / "run")
    folder.begin({"trainable": "connector"})
    folder.keep_split(0, ["a"], [])
    folder.add_checkpoint(2, write)
    (folder.path / "note.txt").write_text("x", encoding="utf-8")
    folder.begin({"trainable": "connector"}, restart=True)
    assert [p.name for p in folder.path.iterdir()] == ["note.txt"]


def test_a_lost_checkpoint_is_named(tmp_path: Path) -> None:
    """The pointer names a folder that the user deleted."""
    folder = RunFolder(tmp_path)
    folder.point_to(8, finished=False)
    with pytest.raises(DataError, match="checkpoint-000008"):
        folder.pointer()


def _training() -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}], lr=0.1)
    return layer, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def _step(layer: torch.nn.Module, optimizer: torch.optim.Optimizer, scheduler: object) -> None:
    optimizer.zero_grad()
    layer(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    scheduler.step()  # type: ignore[attr-defined]


def test_t10_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Optimizer, schedule and generator: three steps after reading equal three steps without."""
    layer, optimizer, scheduler = _training()
    for _ in range(3):
        _step(layer, optimizer, scheduler)
    save_state(tmp_path, optimizer, scheduler)
    weights = {k: v.clone() for k, v in layer.state_dict().items()}
    for _ in range(3):
        _step(layer, optimizer, scheduler)
    other, other_optimizer, other_scheduler = _training()
    other.load_state_dict(weights)
    load_state(tmp_path, other_optimizer, other_scheduler)
    load_generators(tmp_path)
    for _ in range(3):
        _step(other, other_optimizer, other_scheduler)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True))
    assert not any(p.suffix in (".pt", ".pth", ".bin", ".pkl") for p in tmp_path.iterdir())


def test_state_of_other_parameters_is_refused(tmp_path: Path) -> None:
    """One group less."""
    layer, optimizer, scheduler = _training()
    _step(layer, optimizer, scheduler)
    save_state(tmp_path, optimizer, scheduler)
    single = torch.optim.AdamW([layer.weight])
    with pytest.raises(CheckpointError, match="--restart"):
        load_state(tmp_path, single, torch.optim.lr_scheduler.LambdaLR(single, lambda _: 1.0))
    (tmp_path / "optimizer.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        load_state(tmp_path, optimizer, scheduler)


@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
def test_a_number_beyond_torchs_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    """JSON holds whole numbers of any length; a step would end with a traceback."""
    layer, optimizer, scheduler = _training()
    _step(layer, optimizer, scheduler)
    save_state(tmp_path, optimizer, scheduler)
    values = json.loads((tmp_path / "optimizer.json").read_text())
    values["groups"][0][name] = 10**30
    (tmp_path / "optimizer.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=rf"groups\.0\.{name} is 1.* --restart"):
        load_state(tmp_path, optimizer, scheduler)
