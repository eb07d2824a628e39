"""The registry is complete before anything is loaded, lazy, and speaks of what it does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from common.args import ModelArguments
from common.errors import ArgumentError
from common.models import MODEL_NAMES, load_from_args, load_model
from common.models.base import CaptionModel
from common.models.registry import FAMILIES, adapter, settings_from_args
from common.models.resolve import resolve_device, resolve_dtype


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_t19_every_entry_is_complete(name: str) -> None:
    """Template, loader and every flag exist for each registered name."""
    found = adapter(name)
    assert (
        issubclass(found, CaptionModel) and found.name == name and found.load.__func__ is not CaptionModel.load.__func__
    )  # type: ignore[attr-defined]
    assert name == "auto" or ("{prompt}" in found.template and found.template.count(found.image_token) == 1)
    for flag in ("path", "ckpt_load_path", "ckpt_save_path"):
        assert hasattr(ModelArguments(), f"{name}_{flag}")


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_t19_settings_of_the_command_line_are_flags(name: str) -> None:
    settings = settings_from_args(ModelArguments(model=name))
    assert settings.keys() == set(FAMILIES[name].settings)


def test_flags_become_settings() -> None:
    args = ModelArguments(model="minigpt", minigpt_vit_path="v", minigpt_train_cfg="c", minigpt_llama_path="l")
    found = {key: value for key, value in settings_from_args(args).items() if value}
    assert found == {"vit_path": "v", "config": "c", "llama_path": "l"}
    assert settings_from_args(ModelArguments(image_aspect_ratio="pad"))["image_aspect_ratio"] == "pad"


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"unknown model lava .*did you mean llava\?.*share4v, owl, minigpt, auto"):
        load_model("lava")
    with pytest.raises(ArgumentError, match="known: llava"):
        load_from_args(ModelArguments(model="zzz"))
    with pytest.raises(ArgumentError, match="owl takes no setting vit_path; it takes none"):
        load_model("owl", vit_path="x")


def test_devices_and_dtypes() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert resolve_dtype("float16", torch.device("cpu")) == torch.float16
    with pytest.raises(ArgumentError, match="unknown device gpu"):
        resolve_device("gpu")
    with pytest.raises(ArgumentError, match="GPUs are visible"):
        resolve_device("cuda:99")
    with pytest.raises(ArgumentError, match=r"unknown dtype bfloat .*did you mean bfloat16"):
        resolve_dtype("bfloat", torch.device("cpu"))


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, common.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
