"""Which of the launched processes this one is, and what of the machine is its own.

torchrun and accelerate number the processes that they start in environment variables; a script started by itself is
the only one. Nothing here talks to another process or initialises torch.distributed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from common.errors import ArgumentError


@dataclass(frozen=True)
class Process:
    """One of the processes that share a job.

    Attributes:
        rank: its number among all, from 0; number 0 speaks and writes for all.
        count: how many there are.
        local_rank, local_count: the same among those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1


def this_process() -> Process:
    """This process as its launcher numbered it. Raises ArgumentError for numbers that cannot be."""
    count = _number("WORLD_SIZE", 1)
    local_count = _number("LOCAL_WORLD_SIZE", count)
    rank = _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", rank)
    if not (0 <= rank < count and 0 <= local_rank < local_count):
        raise ArgumentError(
            f"the launcher says RANK {rank} of WORLD_SIZE {count}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE "
            f"{local_count}; start the script with torchrun or accelerate launch, or unset these variables"
        )
    return Process(rank, count, local_rank, local_count)


def is_first() -> bool:
    """Whether this process speaks for all; True where it is the only one."""
    return os.environ.get("RANK", "0") == "0"


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ArgumentError(f"{name} is '{text}' in the environment; a launcher sets it to a number") from None


def usable_cores() -> int:
    """Processor cores that this process may keep busy: its share of those that the machine lends to all of them."""
    return max(1, len(os.sched_getaffinity(0)) // this_process().local_count)
