"""The model card of an export: what of the base and of the training it holds, and how other tools load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.args import ModelArguments
from common.cards.base import Base, base_of, stated_licence
from common.cards.card import Subject
from common.cards.loading import OURS, PEFT, TRANSFORMERS, Loading
from common.cards.recipe import manifest_beside
from common.cards.scores import Hashes, comparisons
from common.manifest import model_hash
from common.mini_world import model_path
from common.models.base import CaptionModel
from common.models.families.auto import Auto
from common.models.families.llava import Llava
from common.models.families.minigpt import MiniGpt
from common.models.weights.trained import WEIGHTS
from common.prompts import CAPTION_EVAL


def export_subject(
    model: CaptionModel, args: ModelArguments, adapter_only: bool, results: Sequence[str], name: str
) -> Subject:
    """What the card of this export says, before adapters are merged.

    Args:
        results: result files of the checkpoint and of its base.
        name: of the export, by which it will be loaded.

    Raises DataError for results that are none or of another checkpoint.
    """
    checkpoint = args.chosen("ckpt_load_path")
    hashes = Hashes(model_hash(model_path(args)), model_hash(checkpoint)) if results else Hashes(None, None)
    return Subject(
        name=name,
        loading=_loading(model, args.model, adapter_only, base_of(args, "path")),
        base=_with_licence(base_of(args), checkpoint),
        trained=bool(checkpoint),
        lora=model.lora is not None,
        training=manifest_beside(checkpoint, WEIGHTS),
        comparisons=comparisons(results, hashes),
    )


def _loading(model: CaptionModel, family: str, adapter_only: bool, path: Base | None) -> Loading:
    if adapter_only:
        return Loading(PEFT, family, path.name if path else None, decoder_only=isinstance(model, MiniGpt))
    if isinstance(model, Llava):
        return Loading(TRANSFORMERS, family)
    if isinstance(model, Auto):
        has_template = getattr(model.processor, "chat_template", None) is not None
        return Loading(TRANSFORMERS, family, prompt=None if has_template else model.format_prompt(CAPTION_EVAL))
    return Loading(OURS, family)


def _with_licence(base: Base | None, checkpoint: str | None) -> Base | None:
    """The base with the licence that the checkpoint's own card took over from it, where nothing else states one."""
    if base is None or base.licence is not None or not checkpoint:
        return base
    place = Path(checkpoint)
    return replace(base, licence=stated_licence(place if place.is_dir() else place.parent))
