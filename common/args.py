"""Arguments: typed groups, read from the command line or a YAML file with the same names.

A script calls :func:`parse` with just the groups that it uses. `--config run.yaml` gives defaults, the command
line wins; the file may hold blocks of several steps (`config_blocks.py`). An unknown flag or key is an error that
suggests the nearest one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser

from common.config_blocks import own_values
from common.errors import ArgumentError, suggestion
from common.files.storage import read_yaml, require_file
from common.paths import display


def flag(default: Any, text: str, choices: Sequence[str] | None = None) -> Any:
    """A dataclass field with help text and, where given, a closed set of values."""
    metadata: dict[str, Any] = {"help": text}
    if choices is not None:
        metadata["choices"] = list(choices)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


MODEL_FAMILIES = ("llava", "share4v", "owl", "minigpt", "auto")  # each has its flags below


@dataclass
class ModelArguments:
    """Which model, from which files. Without a path, `llava` is the bundled checkpoints/mini-llava."""

    model: str = flag("llava", "model family", MODEL_FAMILIES)
    model_path: str | None = flag(None, "checkpoint folder of the chosen model (short for --{model}_path)")
    ckpt_load_path: str | None = flag(None, "trained tensors laid over it (short for --{model}_ckpt_load_path)")
    ckpt_save_path: str | None = flag(None, "where training saves (short for --{model}_ckpt_save_path)")
    llava_path: str | None = flag(None, "LLaVA checkpoint folder")
    llava_ckpt_load_path: str | None = flag(None, "trained tensors for LLaVA")
    llava_ckpt_save_path: str | None = flag(None, "where training of LLaVA saves")
    llava_vit_path: str | None = flag(None, "CLIP tower of an original-layout LLaVA checkpoint")
    share4v_path: str | None = flag(None, "ShareGPT4V checkpoint folder")
    share4v_ckpt_load_path: str | None = flag(None, "trained tensors for ShareGPT4V")
    share4v_ckpt_save_path: str | None = flag(None, "where training of ShareGPT4V saves")
    share4v_vit_path: str | None = flag(None, "vision tower of ShareGPT4V")
    owl_path: str | None = flag(None, "mPLUG-Owl checkpoint folder")
    owl_ckpt_load_path: str | None = flag(None, "trained tensors for mPLUG-Owl")
    owl_ckpt_save_path: str | None = flag(None, "where training of mPLUG-Owl saves")
    minigpt_path: str | None = flag(None, "MiniGPT-4 projection file (.pth)")
    minigpt_ckpt_load_path: str | None = flag(None, "trained tensors for MiniGPT-4")
    minigpt_ckpt_save_path: str | None = flag(None, "where training of MiniGPT-4 saves")
    minigpt_vit_path: str | None = flag(None, "EVA ViT-g file of MiniGPT-4")
    minigpt_llama_path: str | None = flag(None, "Llama or Vicuna folder of MiniGPT-4")
    minigpt_qformer_path: str | None = flag(None, "Q-Former file of MiniGPT-4 v1")
    minigpt_train_cfg: str | None = flag(None, "published YAML config of MiniGPT-4")
    auto_path: str | None = flag(None, "any image-text-to-text checkpoint that transformers loads")
    auto_ckpt_load_path: str | None = flag(None, "trained tensors for the auto model")
    auto_ckpt_save_path: str | None = flag(None, "where training of the auto model saves")
    image_aspect_ratio: str = flag("crop", "crop: shortest side and centre crop; pad: square first", ("crop", "pad"))
    device: str = flag("auto", "cpu, cuda, cuda:1 ...; auto takes a GPU where there is one")
    dtype: str = flag(
        "auto",
        "of the frozen weights; auto: bfloat16 on a GPU, float32 on the CPU",
        ("auto", "float32", "bfloat16", "float16"),
    )
    load_in_4bit: bool = flag(False, "keep the frozen decoder in 4 bits (nf4); needs bitsandbytes")
    trust_remote_code: bool = flag(False, "run model code that comes with an auto checkpoint")

    def chosen(self, name: str) -> str | None:
        """The value of `--{model}_{name}`, or of its short form; None if neither was given.

        Raises ArgumentError if both were given and differ.
        """
        long = getattr(self, f"{self.model}_{name}", None)
        short = getattr(self, {"path": "model_path"}.get(name, name), None)
        if long and short and long != short:
            raise ArgumentError(f"--{self.model}_{name} {long} and its short form {short} disagree; give one")
        return long or short


@dataclass
class RunArguments:
    """What every long step has."""

    seed: int = flag(0, "seed of everything random in this step")
    restart: bool = flag(False, "begin anew instead of continuing what an earlier run left")
    dry_run: bool = flag(False, "check the input, say what would be done and what it costs, and stop")
    start_pos: int = flag(0, "first item to work on")
    end_pos: int = flag(-1, "item to stop before; -1: all")


@dataclass
class GenerationArguments:
    """How captions and answers are generated."""

    max_new_tokens: int = flag(200, "most tokens to generate")
    generate_num_beams: int = flag(5, "beams; 1 is greedy")
    length_penalty: float = flag(0.0, "of the beam search, as published")
    infer_bs: int = flag(32, "images in one generation batch")


@dataclass
class ThresholdArguments:
    """CLIP scores that cut objects into sets; numbers, or `auto` from the score distribution."""

    hal_clip_thres: str | None = flag(None, "below: hallucinated; default 23, for the mini world auto")
    norm_clip_thres: str | None = flag(None, "above: grounded; default 32, for the mini world auto")
    sentence_clip_thres: str | None = flag(None, "mean above: sentence sample; default 27.5, for the mini world auto")


class _Parser(HfArgumentParser):
    """An HfArgumentParser whose errors are ArgumentErrors with a suggestion."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage. Raises ArgumentError always."""
        raise ArgumentError(f"{message} (see --help)")

    def flags(self) -> list[str]:
        """All long option names."""
        return [s for action in self._actions for s in action.option_strings if s.startswith("--")]


def parse(
    groups: Sequence[type], description: str, argv: Sequence[str] | None = None, step: str | None = None
) -> tuple[Any, ...]:
    """Read the groups from the command line (`argv`, or the process's) over an optional `--config` file.

    `step`: the script's name among the blocks of that file. Returns one instance per group.
    Raises ArgumentError for unknown flags or keys and malformed values.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(list(groups), description=description, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file with the same names; the command line wins")
    _refuse_unknown(argv, parser.flags())
    config = _config_path(argv)
    if config is not None:
        parser.set_defaults(**_config_values(config, parser, step))
    try:
        *parsed, _rest = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    except (ValueError, TypeError) as error:
        raise ArgumentError(str(error)) from None
    return tuple(parsed)


def _refuse_unknown(argv: Sequence[str], known: Sequence[str]) -> None:
    for word in argv:
        name = word.partition("=")[0]
        if name.startswith("--") and len(name) > 2 and name not in known:
            raise ArgumentError(f"unknown flag {name}{suggestion(name, known)}")


def _config_path(argv: Sequence[str]) -> Path | None:
    for i, word in enumerate(argv):
        if word.startswith("--config="):
            return require_file(word.partition("=")[2], "--config")
        if word == "--config" and i + 1 < len(argv):
            return require_file(argv[i + 1], "--config")
    return None


def _config_values(path: Path, parser: _Parser, step: str | None) -> dict[str, Any]:
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise ArgumentError(f"{display(path)} (from --config) must be a mapping of flag names to values")
    known = [name.removeprefix("--") for name in parser.flags()]
    return own_values(values, known, step, display(path))
