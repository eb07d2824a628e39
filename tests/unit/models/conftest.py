"""Tiny checkpoints of all four families, written once a session, and images to show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.models import load_model
from tests.unit.models.tiny_checkpoints import State, write_llava, write_owl, write_tokenizer
from tests.unit.models.tiny_minigpt import write_minigpt

Loader = Callable[..., Any]


@dataclass(frozen=True)
class Tiny:
    """One tiny checkpoint: the name to load it by, its path, settings, and the tensors that were written."""

    name: str
    path: Path
    settings: dict[str, Any]
    state: State

    def load(self, **more: Any) -> Any:
        """Load it anew (models are changed by some tests)."""
        return load_model(self.name, self.path, **{**self.settings, **more})


FAMILIES = ("llava", "share4v", "owl", "minigpt", "minigpt_v1")


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model with LLaMA's settings."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    write_tokenizer(path)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Callable[[str], Tiny]:
    """The tiny checkpoint of a family, written at its first use."""
    made: dict[str, Tiny] = {}

    def get(name: str) -> Tiny:
        if name not in made:
            made[name] = _write(name, tmp_path_factory.mktemp(name) / name, tokenizer_file)
        return made[name]

    return get


def _write(name: str, folder: Path, tokenizer: Path) -> Tiny:
    if name in ("llava", "share4v"):
        return Tiny(name, folder, {"vit_path": folder / "tower"}, write_llava(folder, tokenizer, name))
    if name == "owl":
        return Tiny(name, folder, {}, write_owl(folder, tokenizer))
    heads = {"vit_num_heads": 4} | ({"qformer_num_heads": 3} if name == "minigpt_v1" else {})
    return Tiny("minigpt", folder, heads, write_minigpt(folder, tokenizer, qformer=name == "minigpt_v1"))


@pytest.fixture(scope="session")
def images() -> list[Image.Image]:
    """Three images of unequal sizes and shapes."""
    random = np.random.default_rng(0)
    sizes = ((40, 64), (57, 31), (28, 28))
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
