"""The folder of a training run: what lies in it, how checkpoints appear whole, and which one is the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cards.base import CARD_FILE
from common.cards.card import remove_card
from common.errors import DataError
from common.files.storage import read_json, read_record, remove_leftovers, write_json
from common.manifest import manifest_path
from common.outputs.settings import check_settings, note_settings, noted_settings, settings_path
from common.paths import display

KEPT = 2  # checkpoints; older ones are removed
WEIGHTS = "trained.safetensors"
# In the order in which they go: what says that there is a result, the result, the rest.
OURS = (
    f"{WEIGHTS}.manifest.json", "last.json", WEIGHTS, "trained.json", "reference_losses.json", "split.json",
    "probe.jsonl", "probe.svg", "probe.png", "best-*[0-9]", "checkpoint-*[0-9]", "logs", "wandb", "mlruns",
)  # fmt: skip
LEFTOVERS = (  # of killed writers
    ".checkpoint-*", ".best-*", ".*.json.*.tmp", ".probe.*.tmp", f".{WEIGHTS}.*.tmp", f".{CARD_FILE}.*.tmp",
)  # fmt: skip


@dataclass(frozen=True)
class Pointer:
    """Which checkpoint is the last, and whether the run has ended."""

    step: int
    finished: bool


@dataclass(frozen=True)
class RunFolder:
    """Files of one run below `path`: split.json, checkpoint-NNNNNN/, last.json and, at its end, trained.safetensors;
    where it is probed probe.jsonl, and best-NNNNNN/ with the weights of the best probe.

    Its settings and its lock lie beside the folder. Complete is a run whose weights have their manifest.
    """

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

    @property
    def probes(self) -> Path:
        """Figures of the probes."""
        return self.path / "probe.jsonl"

    def best(self, step: int) -> Path:
        """The weights of the best probe, after so many optimizer steps."""
        return self.path / f"best-{step:06d}"

    def held_best(self, step: int) -> Path:
        """As :meth:`best`. Raises DataError if they are gone."""
        if not (self.best(step) / WEIGHTS).is_file():
            raise DataError(f"{display(self.best(step))}, the weights of the best probe, is gone; use --restart")
        return self.best(step)

    def checkpoint(self, step: int) -> Path:
        """The checkpoint after so many optimizer steps."""
        return self.path / f"checkpoint-{step:06d}"

    def last(self) -> Pointer | None:
        """What is said to be the last checkpoint, whether or not it is still there."""
        return read_record(self.path / "last.json", Pointer) if (self.path / "last.json").exists() else None

    def pointer(self) -> Pointer | None:
        """The last checkpoint, None before the first. Raises DataError if it is gone."""
        found = self.last()
        if found is not None and not self.checkpoint(found.step).is_dir():
            raise DataError(f"{display(self.checkpoint(found.step))}, the last checkpoint, is gone; use --restart")
        return found

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and said so."""
        return (self.path / WEIGHTS).is_file() and manifest_path(self.path / WEIGHTS).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is anything that could be continued or lost."""
        return (self.path / "last.json").exists() or (self.path / WEIGHTS).exists()

    def point_to(self, step: int, finished: bool) -> None:
        """Name the last checkpoint."""
        write_json(
            self.path / "last.json", {"step": step, "finished": finished, "checkpoint": self.checkpoint(step).name}
        )

    def add_checkpoint(self, step: int, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, then give it its name at once; the pointer moves and older ones go.

        A checkpoint of the same step that is there is whole and of this run, and stays.
        """
        final = self.checkpoint(step)
        if not final.is_dir():
            _write_whole(final, write)
        self.point_to(step, finished=False)
        self._remove_old()
        return final

    def add_best(self, step: int, write: Callable[[Path], None]) -> Path:
        """Let `write` fill the folder of the best weights; one of this step that a kill left without its probe goes."""
        final = self.best(step)
        if final.is_dir():
            shutil.rmtree(final)
        _write_whole(final, write)
        return final

    def keep_best(self, step: int) -> None:
        """Remove the weights of probes that are no longer the best."""
        for path in self.path.glob("best-*[0-9]"):
            if path != self.best(step):
                shutil.rmtree(path, ignore_errors=True)

    def _steps(self) -> dict[int, Path]:
        return {int(p.name.removeprefix("checkpoint-")): p for p in self.path.glob("checkpoint-*[0-9]")}

    def _remove_old(self) -> None:
        steps = self._steps()
        for step in sorted(steps)[:-KEPT]:
            shutil.rmtree(steps[step], ignore_errors=True)

    def check(self) -> None:
        """Raise DataError if the folder holds files but is not known to be of a run: they would be mixed up."""
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise DataError(f"{display(self.path)} is a file; choose another ckpt_save_path")
        noted = noted_settings(self.path)
        if noted is not None and "trainable" not in noted:
            raise DataError(
                f"{display(settings_path(self.path))} is not of a training run and would be lost; choose another "
                "ckpt_save_path"
            )
        if self.path.is_dir() and any(self.path.iterdir()) and noted is None:
            raise DataError(
                f"{display(self.path)} holds files that are not of a training run (no "
                f"{settings_path(self.path).name} beside it); choose another ckpt_save_path"
            )

    def begin(self, settings: Mapping[str, Any], restart: bool = False) -> None:
        """Make the folder ready; only for whoever holds its lock.

        With `restart`, or where nothing can be continued, what an earlier run left goes, its result and its pointer
        first; the settings change last. Else the settings must be those that began the run, and what a kill left
        half written goes.

        Raises ArgumentError for other settings, OSError.
        """
        anew = restart or not self.is_begun
        if not anew:
            check_settings(self.path, settings)
        remove_leftovers(settings_path(self.path))
        _remove(self.path, (*OURS, *LEFTOVERS) if anew else LEFTOVERS)
        if anew:
            remove_card(self.path)
        pointer = None if anew else self.pointer()
        for step, path in self._steps().items():
            if pointer is None or step > pointer.step:
                shutil.rmtree(path)  # was given its name, but the kill came before the pointer
        self._remove_old()  # of which a kill may have left some files
        note_settings(self.path, settings, keep=not anew)
        self.path.mkdir(parents=True, exist_ok=True)

    def reopen(self, length: Mapping[str, Any]) -> None:
        """Let a run go on that was to be shorter: what says that there is a result goes first, then the length."""
        manifest_path(self.path / WEIGHTS).unlink(missing_ok=True)
        note_settings(self.path, length, keep=True)

    def keep_split(self, seed: int, train: Sequence[str], valid: Sequence[str]) -> None:
        """Keep the images of both sides. Raises DataError if the run was begun with others."""
        value: dict[str, Any] = {"seed": seed, "train": sorted(train), "valid": sorted(valid)}
        if self.split.exists() and read_json(self.split) != value:
            raise DataError(
                f"{display(self.split)}: the run was begun with other images; use --restart or another folder"
            )
        if not self.split.exists():
            write_json(self.split, value)


def _write_whole(final: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder, then give it its name at once."""
    unfinished = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        unfinished.replace(final)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # on a full disk it would keep it full
        raise


def _remove(folder: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
