"""Readers of the files beside weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from common.models import load_model
from common.models.checkpoints.files import open_folder
from common.models.families.minigpt_files import find_files
from common.models.parts.clip_tower import build_tower, read_tower_config
from common.models.parts.preprocess_files import read_preprocessing
from common.models.weights.trained import save_trained
from common.paths import MINI_LLAVA
from finetune.run.state import load_state, save_state
from tests.fuzz.reader import Reader
from tests.fuzz.sample_files import json_file

JSON_OF_MODEL = ("config.json", "preprocessor_config.json", "generation_config.json", "tokenizer_config.json")
MINIGPT = b"model:\n  ckpt: x.pth\n  llama_model: llama\n  max_txt_len: 160\n  end_sym: '###'\n"


def model_readers(scratch: Path) -> list[Reader]:
    """Files beside weights. `scratch`: for what is made once."""
    return [*part_readers(), *trained_readers(scratch)]


def part_readers() -> list[Reader]:
    """Files of the bundled model."""
    bundled: dict[str, bytes | Path] = {
        path.name: path.read_bytes() if path.name in JSON_OF_MODEL else path for path in MINI_LLAVA.iterdir()
    }
    config = "preprocessor_config.json"
    tower = json.loads((MINI_LLAVA / "config.json").read_bytes())["vision_config"] | {"model_type": "clip_vision_model"}
    return [
        Reader("preprocessing", {config: bundled[config]}, lambda p: read_preprocessing(p, 112, "crop")),
        Reader(
            "tower config",
            {"config.json": json_file(tower)},
            lambda p: str(build_tower(read_tower_config(p), str(p)).config.to_dict()),
        ),
        Reader(
            "model folder",
            bundled,
            lambda p: load_model("llava", p).image_features(torch.zeros(1, 3, 112, 112)).shape,
            share=0.6,
        ),
    ]


def trained_readers(scratch: Path) -> list[Reader]:
    """Files beside trained tensors, and those that name other files of weights."""
    model = load_model("llava")
    save_trained(model, scratch, [next(iter(model.trainable_parameters("connector")))])
    save_state(scratch, *_optimizer())
    weights = scratch / "trained.safetensors"
    index = json_file({"weight_map": {"a": "x.safetensors"}})
    state = {
        "optimizer.json": (scratch / "optimizer.json").read_bytes(),
        "optimizer.safetensors": scratch / "optimizer.safetensors",
    }
    return [
        Reader(
            "index of shards",
            {"model.safetensors.index.json": index, "x.safetensors": weights},
            lambda p: sorted(open_folder(p, "model", "--llava_path").shapes().items()),
        ),
        Reader(
            "MiniGPT's YAML",
            {"cfg.yaml": MINIGPT, "x.pth": weights, "vit/eva_vit_g.pth": weights, "llama/config.json": weights},
            lambda p: find_files(None, p / "cfg.yaml", vit_path=p / "vit" / "eva_vit_g.pth"),
        ),
        Reader("optimizer", state, _restored),
        Reader(
            "trained card",
            {"trained.json": (scratch / "trained.json").read_bytes(), "trained.safetensors": weights},
            lambda p: str(load_model("llava", ckpt=p).lora),
            share=0.3,
        ),
    ]


def _optimizer() -> tuple[torch.optim.Optimizer, Any]:
    """A small optimizer after one step, and its schedule."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    weight.sum().backward()
    optimizer.step()
    schedule.step()
    return optimizer, schedule


def _restored(folder: Path) -> object:
    optimizer, schedule = _optimizer()
    load_state(folder, optimizer, schedule)
    optimizer.step()
    return optimizer.state_dict()["param_groups"], schedule.state_dict()
