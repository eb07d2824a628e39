"""Sizes of what is grown, and of the memory for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableShape:
    """How large the tables of a run are."""

    slots: int
    branches: int
    trunk: int
    depth: int

    @property
    def places(self) -> int:
        """Of one slot."""
        return self.trunk + self.branches * self.depth
