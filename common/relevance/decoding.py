"""Images for the scorer, decoded ahead of it: by worker processes where a GPU waits for them.

One core decodes some 370 photos of 640x480 a second, and a GPU scores more than that. Pixels travel as bytes, in the
groups that are scored together. JPEG's reduced ("draft") decoding is not used: windows of 192 pixels are enlarged to
the model's input, and where a whole photo is shrunk to 112 pixels, decoding it at half size moved a score by 0.3 on
average and by up to 1.8 (24 photos, `checkpoints/mini-clip`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from common.errors import DataError
from common.files.images import ImageFolder
from common.processes import leave_signals_to_parent, lost_loader_worker, usable_cores
from common.progress import announce

if TYPE_CHECKING:
    import torch

MOST_WORKERS = 16  # one GPU scores fewer photos than so many cores decode
AHEAD = 2  # groups that each worker may have ready
SHARED_MEMORY = Path("/dev/shm")  # through which workers hand over pixels
IMAGE_BYTES = 4 << 20  # room for one image there; a photo of 640x480 takes 0.9 MiB


class Decoded(NamedTuple):
    """An image's pixels, uint8 [height, width, 3]; or None and why it cannot be read."""

    name: str
    pixels: torch.Tensor | None
    why: str = ""


@dataclass(frozen=True)
class DecodingSet:
    """The groups as a data set of torch: item i is group i, decoded."""

    images: ImageFolder
    groups: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> list[Decoded]:
        return [_decode(self.images, name) for name in self.groups[i]]


def _decode(images: ImageFolder, name: str) -> Decoded:
    import numpy as np
    import torch

    try:
        return Decoded(name, torch.from_numpy(np.array(images.read(name), dtype=np.uint8)))
    except DataError as error:
        return Decoded(name, None, str(error))


def decoding_workers(device: str, group: int, cores: int, shared_bytes: int) -> int:
    """Processes that decode for one GPU; none for a CPU, whose cores the model itself keeps busy.

    Args:
        group: images in a group; cores: that may be used; shared_bytes: free for pixels on their way.
    """
    if not device.startswith("cuda"):
        return 0
    room = shared_bytes // 2 // (AHEAD * group * IMAGE_BYTES)
    return min(cores, MOST_WORKERS, room)


def decoded_groups(
    images: ImageFolder, groups: Sequence[Sequence[str]], device: str, workers: int | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the pixels, uint8 [height, width, 3], of each group's images, by name and in the order of the groups.

    Args:
        images: the folder; images that cannot be read are left out, and remembered there.
        device: that the pixels go to.
        workers: processes that decode; None: as many as pay.

    Raises UserError if a process that decodes dies.
    """
    from torch.utils.data import DataLoader

    if workers is None:
        workers = _workers_here(device, max(map(len, groups), default=1))
    loader: DataLoader[list[Decoded]] = DataLoader(
        DecodingSet(images, groups),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=device.startswith("cuda"),
    )
    way = f"the scores so far are kept: free memory, or give more in {SHARED_MEMORY}, and start the same command again"
    with lost_loader_worker("decodes images", way):
        for group in loader:
            yield _readable(images, group)


def _readable(images: ImageFolder, group: Sequence[Decoded]) -> dict[str, torch.Tensor]:
    images.opened += len(group)
    images.lost.update({one.name: one.why for one in group if one.pixels is None})
    return {one.name: one.pixels for one in group if one.pixels is not None}


def _workers_here(device: str, group: int) -> int:
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    workers = decoding_workers(device, group, usable_cores(), free)
    if device.startswith("cuda") and not workers:
        announce(
            f"{SHARED_MEMORY} has {free >> 20} MiB, too little for processes that decode images ahead, so that the GPU "
            "will wait for one core (in a container: --shm-size 8g)"
        )
    return workers
