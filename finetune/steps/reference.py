"""Losses of the negative spans under the model as it was before training, for objectives that compare with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from common.errors import DataError
from common.files.json_text import shown
from common.files.storage import read_record, write_json
from common.models.lanes import in_order, lanes_of
from common.paths import display
from common.progress import bar, batches
from finetune.corpus.records import NEG, CaptionItem
from finetune.objectives.loss import span_means
from finetune.steps.batch import Pack
from finetune.steps.collate import Collator
from finetune.steps.span_losses import SpanLosses

AT_ONCE = 64  # items that packs are made of


def measure(module: SpanLosses, collator: Collator, items: Sequence[CaptionItem]) -> dict[str, list[float]]:
    """Key of each item with a negative span -> mean token loss of each of its spans, in order."""
    wanted = [item for item in items if any(span.kind == NEG for span in item.spans)]
    found: dict[str, list[float]] = {}
    groups = batches(wanted, AT_ONCE)
    for group in bar(groups, "reference losses", len(groups), unit="batch"):
        packs = collator(group).packs
        for pack, means in zip(packs, in_order(partial(_means, module), packs, lanes_of(module)), strict=True):
            for item in pack.items:
                found[item.key], means = means[: len(item.spans)], means[len(item.spans) :]
    return found


@torch.no_grad()
def _means(module: SpanLosses, pack: Pack) -> list[float]:
    """Mean token loss of each span."""
    there = pack.to(module.caption_model.device)
    means: list[float] = span_means(*there.spans.gather(module.token_losses(there))).tolist()
    return means


def measured_once(
    path: Path, module: SpanLosses, collator: Collator, items: Sequence[CaptionItem]
) -> dict[str, list[float]]:
    """As :func:`measure`, kept in a file, so that a continued run compares with the same numbers."""
    if path.exists():
        return read_references(path, {item.key: len(item.spans) for item in items})
    found = measure(module, collator, items)
    write_json(path, found)
    return found


def read_references(path: Path, spans: Mapping[str, int]) -> dict[str, list[float]]:
    """Losses that were measured before. `spans`: of each item now. Raises DataError if the file is of other items."""
    kept = read_record(path, dict[str, list[float]])
    for key, losses in kept.items():
        if key in spans and spans[key] != len(losses):
            raise DataError(
                f"{display(path)}: {shown(key)} has {len(losses)} losses for {spans[key]} spans; use --restart"
            )
    return kept


def with_references(items: Sequence[CaptionItem], losses: dict[str, list[float]]) -> list[CaptionItem]:
    """Items whose spans carry their reference loss."""
    return [
        replace(
            item,
            spans=tuple(replace(s, reference=loss) for s, loss in zip(item.spans, losses[item.key], strict=True)),
        )
        if item.key in losses
        else item
        for item in items
    ]
