"""How a step is computed: the size of packs, what is kept of the vision tower, what the decoder is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from common.errors import ArgumentError, CheckpointError
from common.files.images import ImageFolder
from common.files.storage import read_record
from common.paths import display
from common.progress import announce
from finetune.corpus.records import CaptionItem
from finetune.features.feature_folder import FeatureFolder, tower_key
from finetune.features.tower_cache import TowerCache
from finetune.setup.arguments import EngineArguments
from finetune.steps.packs import PackPlan, image_groups

if TYPE_CHECKING:
    from common.models.base import CaptionModel

CPU_TOKENS = 768  # a pack on the CPU where nothing is asked for: the fastest with the mini model (README)
GPU_TOKENS = 8192  # a pack on a GPU grows up to this, if the step has so much, where nothing is asked for
BLOCK = 128  # lengths on a GPU are multiples of it
CACHE_MB = 512  # on the CPU, where encoding images one by one costs little


@torch.no_grad()
def count_image_tokens(model: CaptionModel, images: ImageFolder, name: str) -> int:
    """Tokens that an image takes in the decoder, by encoding one.

    Raises CheckpointError if the checkpoint's config says another number.
    """
    found: int = model.image_features(model.preprocess(images.open_all([name]))).shape[1]
    config = (model.source or Path()) / "config.json"
    # Where images are cut into tiles (`auto`), their number of tokens is not one.
    said = (
        read_record(config, dict[str, Any]).get("image_seq_length") if model.even_images and config.is_file() else None
    )
    if said not in (None, found):
        raise CheckpointError(
            f"{display(config)} says image_seq_length {said}, but its encoder gives {found} tokens an image; correct "
            "the file, or check vision_feature_select_strategy and image size"
        )
    return found


def uneven_tokens(model: CaptionModel, images: ImageFolder, items: Iterable[CaptionItem]) -> dict[str, int]:
    """Tokens of each image by name, from its size; empty for a model to which all images are alike.

    Raises DataError for an image that the model has no room for.
    """
    if model.even_images:
        return {}
    first = {item.image: item for item in items}
    return {name: model.tokens_of(images.size(name), item.prompt, name) for name, item in first.items()}


def pack_plan(
    args: EngineArguments,
    model: CaptionModel,
    items: Sequence[CaptionItem],
    image_tokens: int,
    images: int,
    by_image: Mapping[str, int] | None = None,
) -> PackPlan:
    """Size and shape of packs: as asked for, else what suits the device.

    Args:
        items: of the run.
        images: a step.
        by_image: tokens of images that take other than `image_tokens`, by name.

    Raises ArgumentError for a budget below one.
    """
    plan = PackPlan(image_tokens, model.packs, by_image=by_image or {})
    static = model.device.type == "cuda" and plan.shares
    if args.tokens_per_batch is not None:
        if args.tokens_per_batch < 1:
            raise ArgumentError(f"--tokens_per_batch is {args.tokens_per_batch}; give a number from 1")
        return replace(plan, budget=args.tokens_per_batch, static=static)
    if model.device.type == "cpu":
        return replace(plan, budget=CPU_TOKENS)
    if not static:
        return plan
    sizes = [plan.tokens([plan.unit(group)]) for group in image_groups(items)]
    wanted = max(max(sizes), min(GPU_TOKENS, images * sum(sizes) // len(sizes)))
    return replace(plan, budget=-(-wanted // BLOCK) * BLOCK, static=True)


def tower_cache(args: EngineArguments, model: CaptionModel, images: ImageFolder) -> TowerCache | None:
    """What keeps the frozen tower's outputs; None where nothing does.

    Raises ArgumentError for a folder where they cannot be kept: the tower is trained, or the model has none apart.
    """
    possible = model.sees_apart and not any(p.requires_grad for p in model.tower_parameters())
    if args.cache_image_features:
        if not possible:
            raise ArgumentError(
                f"--cache_image_features {args.cache_image_features}: the vision tower of {model.name} is trained, or "
                "does not run apart; leave the flag out"
            )
        folder = FeatureFolder(Path(args.cache_image_features), tower_key(model, images.turn), images.path)
        return TowerCache(model, images, memory_limit(args, model), folder)
    limit = memory_limit(args, model) if possible else 0
    return TowerCache(model, images, limit) if limit else None


def memory_limit(args: EngineArguments, model: CaptionModel) -> int:
    """Bytes for outputs in memory; none where images are opened by other processes, which share no memory."""
    if args.num_workers > 0:
        return 0
    default = CACHE_MB if model.device.type == "cpu" else 0
    return (default if args.image_cache_mb is None else args.image_cache_mb) << 20


def fill_cache(cache: TowerCache | None, items: Sequence[CaptionItem]) -> None:
    """Encode all images that a folder does not hold yet, each process its share."""
    if cache is None or cache.folder is None:
        return
    from accelerate import PartialState

    state = PartialState()
    names = sorted({item.image for item in items})
    cache.fill(names[state.process_index :: state.num_processes])
    state.wait_for_everyone()


def switch_on(args: EngineArguments, model: CaptionModel, plan: PackPlan) -> None:
    """Tell the decoder to keep fewer activations, or to be compiled, where that is asked for or pays.

    Raises ArgumentError where the model does not run packs, and so is not compiled.
    """
    from common.models.base import PackedSettings

    if not plan.shares:
        if args.compile:
            raise ArgumentError(f"--compile is not for {model.name}, which runs one caption at a time; leave it out")
        announce(f"{model.name} does not pack: one pass a caption, image and prompt included")
        model.set_packed(PackedSettings(recompute=int(args.gradient_checkpointing)))
        return
    model.set_packed(
        PackedSettings(
            compile=plan.static if args.compile is None else args.compile,
            recompute=int(args.gradient_checkpointing),
            fast_connector=model.device.type == "cuda" and model.compute_dtype.itemsize == 2,
        )
    )
