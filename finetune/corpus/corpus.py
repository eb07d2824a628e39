"""From the files on disk to training and validation items, with counts at each filter."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import ArgumentError, DataError
from common.files.images import ImageFolder
from common.progress import bar
from common.prompts import TRAIN
from common.thresholds import Thresholds
from finetune.corpus.grouping import Filtered, filter_samples, group
from finetune.corpus.items import encode_items
from finetune.corpus.records import (
    NEG,
    POS,
    REPAIR,
    SENT,
    CaptionItem,
    Encoder,
    SpannedCaption,
    count_spans,
    only_kinds,
)
from finetune.corpus.samples import Samples

NAMES = {POS: "positive", NEG: "negative", SENT: "sentence", REPAIR: "repaired"}


def split_images(images: Iterable[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Images for training and for validation (at least one of each if a share is wanted), drawn by the seed alone.

    Raises ArgumentError for a share outside 0 (included) to 1.
    """
    if not 0 <= share < 1:
        raise ArgumentError(f"--valid_data_split is {share:g}; give a share from 0 to below 1")
    order = sorted(set(images))
    random.Random(seed).shuffle(order)
    cut = min(max(1, round(share * len(order))), len(order) - 1) if share else 0
    return sorted(order[cut:]), sorted(order[:cut])


@dataclass(frozen=True)
class Corpus:
    """Items of both sides, and what was dropped on the way."""

    train: list[CaptionItem]
    valid: list[CaptionItem]
    train_images: list[str]
    valid_images: list[str]
    counts: dict[str, int]

    def lines(self) -> list[str]:
        """A report for the reader, before training."""
        spans, rows = self.counts["training_samples"], self.counts["training_captions"]
        kinds = ", ".join(f"{n} {NAMES[k]}" for k, n in count_spans(self.train).items())
        return [
            f"training: {len(self.train_images)} images, {rows} captions, {spans} samples ({kinds}; "
            f"{spans / rows:.1f} a caption), {self.counts['training_tokens']} text tokens",
            f"validation: {len(self.valid_images)} images, {self.counts['validation_samples']} samples; left out: "
            f"{self.counts['between_thresholds']} spans between the thresholds, {self.counts['conflicts']} in "
            f"conflict, {self.counts['sentences_below']} sentences below theirs, {self.counts['without_tokens']} "
            f"without tokens, {self.counts['lost_images']} images unreadable",
        ]


def readable(images: ImageFolder, names: Sequence[str]) -> list[str]:
    """The images that can be decoded, all tried once before training begins.

    Raises DataError for one that is not there, or if more than 1 % cannot be decoded.
    """
    images.require(names)
    kept = [n for n in bar(names, "checking images", len(names), unit="image") if images.open(n) is not None]
    images.check_losses(len(names))
    return kept


def build_corpus(
    samples: Samples,
    images: ImageFolder,
    encoder: Encoder,
    thresholds: Thresholds,
    kinds: Sequence[str],
    split: tuple[float, int],
) -> Corpus:
    """Filter, group, split by image and tokenise.

    Args:
        kinds: those whose weight is not 0 throughout; the others are left out.
        split: validation share and seed.

    Raises DataError, with the counts at each filter, if a set that is needed is empty.
    """
    filtered = filter_samples(samples.spans, samples.sentences, thresholds, samples.repaired)
    captions = group(filtered)
    good = set(readable(images, list(dict.fromkeys(c.image for c in captions))))
    train_names, valid_names = split_images(good, *split) if good else ([], [])
    prompt = encoder.encode_prompt(encoder.format_prompt(TRAIN))
    sides = [_of_images(captions, names) for names in (train_names, valid_names)]
    (train, empty), (valid, empty_valid) = (encode_items(side, encoder, prompt) for side in sides)
    train, valid = only_kinds(train, kinds), only_kinds(valid, kinds)
    counts = {
        "spans_read": len(samples.spans),
        "sentences_read": len(samples.sentences),
        "between_thresholds": filtered.between,
        "conflicts": filtered.conflicts,
        "sentences_below": filtered.other_sentences,
        "repaired_read": len(samples.repaired),
        "repaired_below": filtered.other_repaired,
        "lost_images": len(images.lost),
        "without_tokens": empty + empty_valid,
        **item_counts(train, valid),
    }
    _require_sets(train, kinds, filtered, counts, thresholds)
    return Corpus(train, valid, train_names, valid_names, counts)


def item_counts(train: Sequence[CaptionItem], valid: Sequence[CaptionItem]) -> dict[str, int]:
    """What is trained on, and what is judged by."""
    return {
        "training_captions": len(train),
        "training_samples": count_spans(train).total(),
        "training_tokens": sum(len(item.ids) for item in train),
        "validation_samples": count_spans(valid).total(),
    }


def _of_images(captions: Sequence[SpannedCaption], names: Sequence[str]) -> list[SpannedCaption]:
    wanted = set(names)
    return [caption for caption in captions if caption.image in wanted]


def _require_sets(
    train: Sequence[CaptionItem],
    kinds: Sequence[str],
    filtered: Filtered,
    counts: dict[str, int],
    thresholds: Thresholds,
) -> None:
    left = count_spans(train)
    passed = {kind: sum(k == kind for k, _ in filtered.spans) for kind in (POS, NEG)}
    passed |= {SENT: len(filtered.sentences), REPAIR: len(filtered.repaired)}
    read = {POS: "spans_read", NEG: "spans_read", SENT: "sentences_read", REPAIR: "repaired_read"}
    rules = {
        POS: f"score above --norm_clip_thres {thresholds.grounded:g}",
        NEG: f"score below --hal_clip_thres {thresholds.hallucinated:g}",
        SENT: f"mean above --sentence_clip_thres {thresholds.sentence:g} and min above {thresholds.hallucinated:g}",
        REPAIR: f"min above --hal_clip_thres {thresholds.hallucinated:g}",
    }
    for kind in read:
        if kind in kinds and not left[kind]:
            raise DataError(
                f"the {NAMES[kind]} set is empty: {counts[read[kind]]} read, {passed[kind]} with {rules[kind]}, "
                f"{counts['conflicts']} in conflict, {counts['lost_images']} images unreadable, {left[kind]} left for "
                "training after the validation split; change the thresholds or mine more captions"
            )
