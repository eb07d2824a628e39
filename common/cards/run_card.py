"""The card of a training run, from its manifest: written when it ends, and again when results are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from common.args import ModelArguments
from common.cards.base import Base, base_of, stated_licence
from common.cards.card import Subject, write_card
from common.cards.loading import BUNDLED, OURS, Loading
from common.cards.scores import Hashes, comparisons
from common.errors import DataError
from common.manifest import model_hash


def model_arguments(manifest: Mapping[str, Any]) -> ModelArguments:
    """The model's flags that a manifest notes; what this version does not know is left out.

    Raises DataError if it notes no model.
    """
    given = manifest.get("arguments")
    if not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
        raise DataError("the manifest beside the checkpoint does not say which model it is of; train it again")
    known = {field.name for field in fields(ModelArguments)}
    return ModelArguments(**{name: value for name, value in given.items() if name in known})


def write_run_card(
    folder: Path, manifest: Mapping[str, Any], results: Sequence[Path | str] = (), dry_run: bool = False
) -> bool:
    """Write README.md beside trained tensors, with the scores of the result files.

    Args:
        folder: that holds trained.safetensors, on which results of the checkpoint rest.
        manifest: of the training.

    Returns whether it was written. Raises DataError for results that are none or of another checkpoint.
    """
    args = model_arguments(manifest)
    base = base_of(args)
    if base is not None and base.licence is None:
        base = replace(base, licence=stated_licence(folder))  # as the hub said when an earlier card was written
    hashes = Hashes(manifest.get("model_hash"), model_hash(folder))
    trainable = str(manifest["arguments"].get("trainable", ""))
    subject = Subject(
        name=folder.resolve().name,
        loading=Loading(OURS, args.model, _laid_over(args, base)),
        base=base,
        lora="lora" in trainable.split("+"),
        training=manifest,
        comparisons=comparisons(results, hashes),
    )
    return False if dry_run else write_card(folder, subject)


def _laid_over(args: ModelArguments, base: Base | None) -> str:
    if args.is_bundled():
        return BUNDLED
    place = base_of(args, "path") or base
    return place.name if place else "BASE"
