"""Logging never asks for a login and respects the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import ArgumentError
from finetune.run.tracking import is_logged_in, prepare_tracking
from finetune.setup.arguments import TrackingArguments


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No W&B variables, no netrc; whatever a test sets is put back."""
    for name in (
        "WANDB_API_KEY",
        "WANDB_MODE",
        "WANDB_PROJECT",
        "WANDB_DIR",
        "WANDB_ENTITY",
        "TENSORBOARD_LOGGING_DIR",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_offline_unless_logged_in(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key in the environment or in netrc is a login."""
    prepare_tracking(["wandb"], "me", tmp_path)
    assert (os.environ["WANDB_MODE"], os.environ["WANDB_ENTITY"]) == ("offline", "me")
    clean.delenv("WANDB_MODE")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n login user\n password k\n", encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    assert is_logged_in()
    prepare_tracking(["wandb"], None, tmp_path)
    assert "WANDB_MODE" not in os.environ


def test_t17_the_environment_wins_and_proxies_are_left_alone(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The published script forced W&B offline and emptied http_proxy."""
    clean.setenv("WANDB_MODE", "online")
    clean.setenv("WANDB_PROJECT", "mine")
    clean.setenv("http_proxy", "http://proxy:1")
    clean.setenv("https_proxy", "http://proxy:2")
    prepare_tracking(["wandb"], None, tmp_path)
    values = [os.environ[n] for n in ("WANDB_MODE", "WANDB_PROJECT", "http_proxy", "https_proxy")]
    assert values == ["online", "mine", "http://proxy:1", "http://proxy:2"]


def test_several_trackers_at_once_and_none_by_default() -> None:
    for words, names in (
        ([], []),
        (["none"], []),
        (["wandb,tensorboard"], ["wandb", "tensorboard"]),
        (["mlflow", "wandb", "wandb"], ["mlflow", "wandb"]),
    ):
        assert TrackingArguments(report_to=words).trackers() == names
    assert TrackingArguments(wandb_user="me").trackers() == ["wandb"]
    assert TrackingArguments(wandb_user="none").trackers() == []
    with pytest.raises(ArgumentError, match="--report_to is 'wand'; give wandb, tensorboard, mlflow or none"):
        TrackingArguments(report_to=["wand"]).trackers()


@pytest.mark.usefixtures("clean")
def test_nothing_is_set_for_other_trackers(tmp_path: Path) -> None:
    """TensorBoard and none need nothing."""
    prepare_tracking(["tensorboard"], None, tmp_path)
    assert "WANDB_MODE" not in os.environ
