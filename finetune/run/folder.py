"""The folder of a training run: what lies in it, how checkpoints appear whole, and which one is the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, write_json
from common.paths import display

KEPT = 2  # checkpoints; older ones are removed
OURS = ("checkpoint-*", ".checkpoint-*", "logs", "wandb", "*.json", "trained.safetensors")


@dataclass(frozen=True)
class Pointer:
    """Which checkpoint is the last, and whether the run has ended."""

    step: int
    finished: bool


@dataclass(frozen=True)
class RunFolder:
    """Files of one run below `path`: split.json, checkpoint-NNNNNN/, last.json and, at its end, trained.safetensors."""

    path: Path

    @property
    def split(self) -> Path:
        """Images of training and validation."""
        return self.path / "split.json"

    @property
    def references(self) -> Path:
        """Losses of the negative spans before training."""
        return self.path / "reference_losses.json"

    @property
    def logs(self) -> Path:
        """TensorBoard's files."""
        return self.path / "logs"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint after so many optimizer steps."""
        return self.path / f"checkpoint-{step:06d}"

    def pointer(self) -> Pointer | None:
        """The last checkpoint, None before the first. Raises DataError if it is gone."""
        if not (self.path / "last.json").exists():
            return None
        value = read_json(self.path / "last.json")
        found = Pointer(int(value["step"]), bool(value["finished"]))
        if not self.checkpoint(found.step).is_dir():
            raise DataError(f"{display(self.checkpoint(found.step))}, the last checkpoint, is gone; use --restart")
        return found

    def point_to(self, step: int, finished: bool) -> None:
        """Name the last checkpoint."""
        write_json(
            self.path / "last.json", {"step": step, "finished": finished, "checkpoint": self.checkpoint(step).name}
        )

    def add_checkpoint(self, step: int, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, then give it its name at once; the pointer moves and older ones go."""
        unfinished = self.path / f".checkpoint-{step:06d}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(unfinished)
        final = self.checkpoint(step)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.replace(final)
        self.point_to(step, finished=False)
        self._remove_old()
        return final

    def _remove_old(self) -> None:
        steps = {int(p.name.removeprefix("checkpoint-")): p for p in self.path.glob("checkpoint-*[0-9]")}
        old = [steps[step] for step in sorted(steps)[:-KEPT]]
        for path in [*old, *self.path.glob(".checkpoint-*")]:
            shutil.rmtree(path, ignore_errors=True)

    def check(self) -> None:
        """Raise DataError if the folder holds files but no run: they would be mixed up."""
        if self.path.is_dir() and any(self.path.iterdir()) and not self.split.exists():
            raise DataError(
                f"{display(self.path)} holds files that are not of a training run; choose another ckpt_save_path"
            )

    def begin(self, restart: bool) -> None:
        """Make the folder; with `restart` remove what an earlier run left."""
        if restart and self.path.is_dir():
            _remove(self.path, OURS)
        self.path.mkdir(parents=True, exist_ok=True)

    def keep_split(self, seed: int, train: Sequence[str], valid: Sequence[str]) -> None:
        """Keep the images of both sides. Raises DataError if the run was begun with others."""
        value: dict[str, Any] = {"seed": seed, "train": sorted(train), "valid": sorted(valid)}
        if self.split.exists() and read_json(self.split) != value:
            raise DataError(
                f"{display(self.split)}: the run was begun with other images; use --restart or another folder"
            )
        if not self.split.exists():
            write_json(self.split, value)


def _remove(folder: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
