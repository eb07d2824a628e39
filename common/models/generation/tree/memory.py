"""How many trees are grown at a time: as many as the free memory holds, halved and said where that was too many."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from common.errors import ResourceError
from common.progress import announce

if TYPE_CHECKING:
    from common.models.generation.tree.llama import Decoder
    from common.models.generation.tree.shapes import TableShape

Made = TypeVar("Made")

SHARE = 0.88  # of the free memory; the rest is for images and trunks on their way
MOST_ROWS = {"cuda": 320, "cpu": 64}  # with more, a step takes as much longer as it does more
MOST_SLOTS = 128
GIB = 2**30
V2 = ("memory.max", "memory.current", "inactive_file")  # of control groups: limit, used, of that in a cache
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
NO_ROOM = ("can't allocate memory", "not enough memory")  # as torch says of main memory, in no error of its own


def free_memory(device: torch.device) -> int:
    """Bytes that can be had now."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # what is held but unused lies in pieces, and tables are large
        return int(torch.cuda.mem_get_info(device)[0])
    return main_memory()


def main_memory(root: Path = Path("/")) -> int:
    """Bytes that a process of this machine can still have: caches that give way included, limits of containers kept."""
    return min([_available(root / "proc/meminfo"), *_left_in_groups(root)])


def _available(meminfo: Path) -> int:
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_in_groups(root: Path) -> Iterator[int]:
    """Of the control groups that this process belongs to (a container, a job of a cluster), those with a limit."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        names = V1 if controllers else V2
        own = top / path.lstrip("/")
        for folder in (own, *own.parents[: len(own.parts) - len(top.parts)]):
            with suppress(OSError, ValueError):  # not there, or "max"
                limit, used = (int((folder / name).read_text()) for name in names[:2])
                cached = re.search(rf"^{names[2]} (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
                yield max(0, limit - used + (int(cached[1]) if cached else 0))


def fit_slots(one: TableShape, slot_bytes: int, device: torch.device, wanted: int, most: int | None) -> TableShape:
    """The shape with as many slots as are wanted, useful, and fit.

    Args:
        one: shape of one slot, which takes `slot_bytes`.
        wanted: trees that there are.
        most: what the user allows; None: what is useful on this device.

    Raises ResourceError if not even one fits.
    """
    useful = most or min(MOST_SLOTS, max(1, MOST_ROWS.get(device.type, 64) // one.branches))
    asked = max(1, min(wanted, useful))
    free = int(free_memory(device) * SHARE)
    fitting = free // slot_bytes
    if fitting < 1:
        raise ResourceError(too_small(one, slot_bytes, free))
    slots = min(asked, fitting) if most is None else asked
    while slots > fitting:
        slots //= 2
    if slots < asked and most is not None:
        announce(f"{asked} at a time need {asked * slot_bytes / GIB:.1f} GiB and {free / GIB:.1f} are free: {slots}")
    return replace(one, slots=slots)


def too_small(one: TableShape, slot_bytes: int, free: int) -> str:
    """What one slot needs, and what helps."""
    return (
        f"decoding one image needs {slot_bytes / GIB:.2f} GiB ({one.trunk} positions of image and prompt, "
        f"{one.branches} x {one.depth} of text), {free / GIB:.2f} are free; lower --max_new_tokens or "
        "--generate_num_beams, load the decoder in 4 bits, or end what else uses the memory"
    )


def make_fitting(shape: TableShape, slot_bytes: int, make: Callable[[TableShape], Made]) -> Made:
    """What `make` makes of the shape; where memory runs out, of one with half the slots, and so on.

    Raises ResourceError if not even one slot fits.
    """
    while True:
        try:
            return make(shape)
        except RuntimeError as error:  # of a GPU an OutOfMemoryError
            if not isinstance(error, torch.OutOfMemoryError) and not any(text in str(error) for text in NO_ROOM):
                raise
            half = shape.slots // 2
        torch.cuda.empty_cache()
        if half < 1:
            raise ResourceError(too_small(shape, slot_bytes, 0)) from None
        announce(f"{shape.slots} at a time do not fit into the memory; trying {half}")
        shape = replace(shape, slots=half)


def slot_bytes(decoder: Decoder, shape: TableShape, dtype: torch.dtype) -> int:
    """Memory of one slot: keys, values, what each row sees, and what a step makes of its logits."""
    cache = 2 * len(decoder.layers) * decoder.key_heads * shape.places * decoder.head_size * dtype.itemsize
    return cache + shape.branches * (16 * decoder.vocabulary + shape.places + 8 * decoder.hidden * dtype.itemsize)


def copies_fit(trunk: nn.Module) -> bool:
    """Whether copies of the weights would take little of the free memory."""
    weights = list(trunk.parameters())
    return sum(w.numel() * w.element_size() for w in weights) < free_memory(weights[0].device) // 5
