"""What the frozen vision tower says of an image, kept in memory and, where a folder is given, on disk.

On the CPU every image goes through the tower alone, kept or not: the last bits of a batched product depend on the
batch, and a continued run, whose memory is empty, must end with the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from common.files.images import ImageFolder
from common.models.lanes import in_order, lanes_of
from common.progress import announce, bar, batches
from finetune.features.feature_folder import FeatureFolder, Record
from finetune.features.in_use import InUse

if TYPE_CHECKING:
    from common.models.base import CaptionModel

TOGETHER = 32  # images that a GPU encodes at once when a folder is filled


@dataclass
class TowerCache:
    """Tower outputs by image name, on the CPU.

    Args:
        model: its tower must be frozen.
        images: where the names are found.
        limit: bytes to keep in memory at most; further images are read or encoded each time.
        folder: where they are kept on disk, if anywhere. Once it is filled (:meth:`fill`), other processes can read.
    """

    model: CaptionModel
    images: ImageFolder
    limit: int
    folder: FeatureFolder | None = None
    kept: dict[str, Record] = field(default_factory=dict)
    size: int = 0
    in_use: InUse | None = None

    def __call__(self, names: Sequence[str]) -> Any:
        """What the model's connector takes, of these images."""
        return self.model.kept([self._one(name) for name in names])

    def prepare(self, names: Iterable[str]) -> None:
        """Encode what will be asked for and has room in memory; on the CPU side by side."""
        missing = [name for name in dict.fromkeys(names) if name not in self.kept]
        if self.folder is not None or not missing:
            return
        encoded = in_order(lambda name: self._encode([name])[0], missing, lanes_of(self.model.vision))
        for name, seen in zip(missing, encoded, strict=False):
            self._keep(name, seen)
            if name not in self.kept:
                return

    def _one(self, name: str) -> Record:
        if name in self.kept:
            return self.kept[name]
        seen = self.folder.read(name) if self.folder else None
        if seen is None:
            seen = self._encode([name])[0]
            self._write(name, seen)
        self._keep(name, seen)
        return seen

    def _write(self, name: str, seen: Record) -> None:
        """Onto the disk; a folder that cannot be written to is said, and done without from then on."""
        if self.folder is None:
            return
        try:
            self.folder.write(name, seen)
        except OSError as error:
            self._do_without(self.folder, error)

    def _enter(self, folder: FeatureFolder) -> bool:
        """Whether the folder is there, and in use from now on; what killed processes left in it goes."""
        try:
            self.in_use = self.in_use or InUse(folder.path, folder.leftovers)
        except OSError as error:
            self._do_without(folder, error)
        return self.folder is not None

    def _do_without(self, folder: FeatureFolder, error: OSError) -> None:
        announce(f"image features cannot be kept in {folder} ({error.strerror}): going on without them")
        self.folder = None

    def _keep(self, name: str, seen: Record) -> None:
        used = sum(tensor.numel() * tensor.element_size() for tensor in seen.values())
        if self.size + used <= self.limit:
            self.kept[name] = seen
            self.size += used

    @torch.no_grad()
    def _encode(self, names: Sequence[str]) -> list[Record]:
        return self.model.keep(self.model.preprocess(self.images.open_all(names)))

    def fill(self, names: Sequence[str]) -> None:
        """Encode what the folder does not hold yet; a killed call goes on where it was."""
        if self.folder is None or not self._enter(self.folder):
            return
        missing = [name for name in names if not self.folder.holds(name)]
        announce(f"image features: {len(names) - len(missing)} of {len(names)} are in {self.folder}")
        together = 1 if self.model.device.type == "cpu" else TOGETHER
        groups = batches(missing, together)
        for group in bar(groups, "image features", len(groups), unit="batch") if groups else ():
            for name, seen in zip(group, self._encode(group), strict=True):
                self._write(name, seen)
            if self.folder is None:
                return
