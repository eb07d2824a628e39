"""Recipes of the leaderboard: what of a world they take, and the flags that the scripts get."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from common.args import parse
from common.errors import ArgumentError
from common.files.records import CaptionObjects
from common.files.storage import UniqueKeys, read_text
from common.paths import ROOT, display
from finetune.format_data import FormatArguments
from finetune.setup.arguments import GROUPS, Flags
from finetune.setup.job import resolve_weights
from insight.answer import OwnAnswerArguments
from tests.bench.board.table import BASE

BASE_RECIPE = ROOT / "finetune" / "recipes" / "mini_bounded.yaml"
MINED = ("captions", "images", "format", "answers")
GIVEN = (  # by the leaderboard, of its worlds and orders
    "model", "path", "seed", "config", "run_name", "ckpt_save_path", "image_dir_path", "pos_neg_data_path",
    "sentence_data_path", "repaired_data_path", "gold_data_path", "hal_clip_thres", "norm_clip_thres",
    "sentence_clip_thres", "score_data_path", "object_data_path", "answer_data_path", "repair", "dry_run", "restart",
    "report_to",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Mined:
    """How much of what was mined of a world a recipe takes (0: all), and the flags of `finetune/format_data.py` and of
    `insight/answer.py`."""

    captions: int
    images: int
    flags: tuple[str, ...]
    answers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For its folder."""
        return f"sets-{self.captions}captions-{self.images}images-{_short(self.flags)}"

    @property
    def answers_name(self) -> str:
        """For the file of answers, which the sets do not change."""
        return f"answers-{self.captions}captions-{self.images}images-{_short(self.answers)}"

    def taken(self, records: Sequence[CaptionObjects]) -> list[CaptionObjects]:
        """The first captions of the first images."""
        images = set(list(dict.fromkeys(record.image for record in records))[: self.images or None])
        return [r for r in records if r.image in images and (not self.captions or r.sample < self.captions)]


def mined_by(recipe: Mapping[str, Any]) -> Mined:
    """What a recipe takes; two captions of every image where it says nothing."""
    flags, answers = (
        tuple(f"--{name}={value}" for name, value in (recipe.get(block) or {}).items())
        for block in ("format", "answers")
    )
    return Mined(recipe.get("captions", 2), recipe.get("images", 0), flags, answers)


def _short(flags: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(flags).encode()).hexdigest()[:8]


def flags_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The training flags of a recipe, over those of the demo's."""
    base: dict[str, Any] = yaml.safe_load(BASE_RECIPE.read_text(encoding="utf-8"))
    return base | {name: value for name, value in recipe.items() if name not in MINED}


def read_recipes(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> what is laid over the demo's recipe. Raises ArgumentError, DataError."""
    try:
        every = yaml.load(read_text(path), UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ArgumentError(
            f"{display(path)} (from --recipes) is not YAML: {' '.join(str(error).split())[:200]}"
        ) from None
    if not isinstance(every, dict) or not every:
        raise ArgumentError(f"{display(path)} (from --recipes) must be a mapping of names to recipes")
    for name, recipe in every.items():
        if not isinstance(name, str) or not NAME.fullmatch(name) or name == BASE:
            raise ArgumentError(
                f"{display(path)}: {str(name)[:40]!r} cannot name a recipe: letters, digits, _ . -, not base"
            )
        if not isinstance(recipe, dict | None):
            raise ArgumentError(
                f"{display(path)}, recipe {name}: must be a mapping of flags to values, not {recipe!r:.40}"
            )
    return {name: recipe or {} for name, recipe in every.items()}


def check_recipe(recipe: Mapping[str, Any], train_images: int) -> None:
    """Raise ArgumentError for a flag that its script does not have, a value that it refuses, or more than is mined."""
    for name in ("format", "answers"):
        if not isinstance(recipe.get(name), dict | None):
            raise ArgumentError(f"{name} must be a mapping of flags to values")
    for name, least in (("captions", 1), ("images", 0)):
        number = recipe.get(name, 1)
        if type(number) is not int or number < least:
            raise ArgumentError(f"{name} must be a whole number from {least}, not {number!r:.40}")
    if recipe.get("images", 0) > train_images:
        raise ArgumentError(f"takes {recipe['images']} images; --train_images {train_images} gives fewer")
    every = chain(recipe, recipe.get("format") or {}, recipe.get("answers") or {})
    for name in (name for name in every if str(name).removeprefix("llava_") in GIVEN):
        raise ArgumentError(f"--{name} is given by the leaderboard; leave it out")
    words = [f"--{name}={value}" for name, value in flags_of(recipe).items() if value is not None]
    flags = Flags(*parse(GROUPS, "", words))
    flags.check_together()
    resolve_weights(flags.loss)
    mined = mined_by(recipe)
    parse((FormatArguments,), "", mined.flags)
    parse((OwnAnswerArguments,), "", mined.answers)
