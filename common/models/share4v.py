"""ShareGPT4V: LLaVA-1.5's shape with a fine-tuned tower of its own; only the differences are here."""

from __future__ import annotations

from typing import ClassVar

from common.models.llava import Llava


class Share4v(Llava):
    """ShareGPT4V-7B. Its published code neither cuts long inputs nor removes pad ids."""

    name = "share4v"
    max_positions: ClassVar[int | None] = None
    drops_padding: ClassVar[bool] = False
