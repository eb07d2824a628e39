"""Outputs of a frozen vision tower on disk: `DIR/KEY/ab/abcdef....safetensors`, one file an image.

KEY stands for everything that the outputs depend on but the image: files and weights of the tower, preprocessing,
dtype. A file says which image it is of and what that image's file looked like; what does not fit is made anew.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.files.pixels import PIXELS_VERSION
from common.paths import display

if TYPE_CHECKING:
    from common.models.base import CaptionModel

TEMPORARY = re.compile(r"[0-9a-f]{16}/[0-9a-f]{2}/\.[0-9a-f]{32}\.safetensors\.\d+\.tmp")

Record = dict[str, Tensor]  # what a model keeps of its tower for an image


@dataclass(frozen=True)
class FeatureFolder:
    """Tower outputs by image name.

    Args:
        path: the folder; may be shared by several models.
        key: of the tower, from :func:`tower_key`.
        images: the folder that the names are found in.
    """

    path: Path
    key: str
    images: Path

    def __str__(self) -> str:
        return display(self.path)

    def file(self, name: str) -> Path:
        """Where the output for an image is kept."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self.path / self.key[:16] / digest[:2] / f"{digest}.safetensors"

    def leftovers(self) -> list[Path]:
        """Temporary files and folders of writers, of any tower; those of killed ones, if nobody else writes."""
        return [path for path in self.path.glob("*/*/.*.tmp") if TEMPORARY.fullmatch(str(path.relative_to(self.path)))]

    def holds(self, name: str) -> bool:
        """Whether a file that fits is there. Its tensor is not read."""
        return self._open(name, whole=False) is not None

    def read(self, name: str) -> Record | None:
        """What was kept; None if there is no file, or one that is broken or of something else."""
        return self._open(name, whole=True)

    def _open(self, name: str, whole: bool) -> Record | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.file(name)), framework="pt") as file:
                if file.metadata() != self._origin(name):
                    return None
                return {key: file.get_tensor(key) for key in file.keys()} if whole else {}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return None

    def write(self, name: str, seen: Record) -> None:
        """Keep an output; the file appears whole. Raises OSError where the folder cannot be written."""
        from common.models.weights.trained import write_safetensors

        write_safetensors(self.file(name), seen.items(), self._origin(name))

    def _origin(self, name: str) -> dict[str, str]:
        """What the file must say: the tower, the image, and the state of the image's file."""
        state = (self.images / name).stat()
        return {"key": self.key, "image": name, "file": f"{state.st_size} bytes, {state.st_mtime_ns} ns"}


def tower_key(model: CaptionModel, turn: bool = True) -> str:
    """SHA-256 over what a tower's output depends on: the model's files, the tower's weights, preprocessing, dtype.

    `turn`: whether images are opened as their EXIF orientation says.
    """
    from common.models.weights.trained import base_hash

    digest = hashlib.sha256()
    for part in (model.name, base_hash(model), model.image_settings(), model.compute_dtype, PIXELS_VERSION, turn):
        digest.update(f"{part}\n".encode())
    for tensor in model.tower_parameters():
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
