"""What the tests of training start from; a file of its own has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.train import main
from tests.training_world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Ten captions."""
    return make_world(tmp_path_factory.mktemp("train") / "world")


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 30 steps."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    main(world.train_flags(folder, max_steps=30, save_steps=5))
    return folder
