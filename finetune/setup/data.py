"""What a run trains on: items that fit into a pack, and the report before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.files.images import ImageFolder
from finetune.corpus.corpus import Corpus, build_corpus, readable
from finetune.corpus.gold import GoldSample, encode_gold
from finetune.corpus.records import CaptionItem, one_by_one
from finetune.corpus.samples import require_cut_at
from finetune.setup.engine import count_image_tokens, pack_plan, uneven_tokens
from finetune.setup.inputs import Inputs
from finetune.setup.job import Job
from finetune.steps.packs import PackPlan, image_groups, merged

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class TrainingData:
    """Images, items and how they are packed. `too_long` are the items that were left out."""

    images: ImageFolder
    corpus: Corpus
    gold: list[CaptionItem]
    plan: PackPlan
    too_long: list[CaptionItem]

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Of an epoch; see :func:`token_counts`."""
        return token_counts(self.corpus.train, self.plan)

    @property
    def counts(self) -> dict[str, int]:
        """Of everything that was read, left out and kept."""
        return {
            **self.corpus.counts,
            "longer_than_a_pack": len(self.too_long),
            **self.tokens,
        }

    def notes(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "lost_images": self.images.lost,
            "input_counts": self.counts,
            "image_tokens": self.plan.image_tokens,
            "tokens_a_pack": self.plan.budget,
        }

    def lines(self) -> list[str]:
        """A report for the reader, before training."""
        alone, shared = self.tokens["tokens_one_by_one"], self.tokens["tokens_shared"]
        how = "one pass an image" if self.plan.shares else "one pass a caption"
        lines = [
            *self.corpus.lines(),
            f"tokens an epoch, image and prompt included: {alone:,} with one pass a sample, {shared:,} with {how}: "
            f"{1 - shared / alone:.0%} saved",
        ]
        return [*lines, too_long_line(self.too_long, self.plan)] if self.too_long else lines


def prepare(job: Job, inputs: Inputs, model: CaptionModel) -> TrainingData:
    """Read, filter and tokenise; find the size of a pack; leave out what does not fit.

    Raises DataError for sets that are empty, or with `--strict` for a caption that does not fit; CheckpointError for an
    encoder that gives another number of image tokens than its checkpoint says.
    """
    images = ImageFolder(inputs.images, turn=inputs.turn, reduced=model.reduced)
    split = (job.valid_split, job.seed)
    if inputs.repaired:
        require_cut_at(inputs.repaired, job.thresholds)
    corpus = build_corpus(inputs.samples, images, model, job.thresholds, job.weights.active(), split)
    gold = encode_gold(readable_gold(inputs.gold, images), model)
    image_tokens = count_image_tokens(model, images, corpus.train[0].image)
    a_step = job.images if job.optimizer.sampling == "shared" else sum(job.samples.values())
    by_image = uneven_tokens(model, images, [*corpus.train, *corpus.valid, *gold])
    plan = pack_plan(job.engine, model, [*corpus.train, *gold], image_tokens, a_step, by_image)
    too_long = longer_than_a_pack([*corpus.train, *corpus.valid, *gold], plan) if job.engine.tokens_per_batch else []
    if too_long and job.engine.strict:
        raise DataError(f"{too_long_line(too_long, plan)}; raise --tokens_per_batch, or leave out --strict")
    kept = replace(corpus, train=_without(corpus.train, too_long), valid=_without(corpus.valid, too_long))
    if not kept.train:
        raise DataError(f"{too_long_line(too_long, plan)}; none is left, raise --tokens_per_batch")
    return TrainingData(images, kept, _without(gold, too_long), plan, too_long)


def readable_gold(samples: Sequence[GoldSample], images: ImageFolder) -> list[GoldSample]:
    """Instruction data whose images can be decoded, all tried once; `images` knows their paths from now on.

    Raises DataError if more than 1 % cannot be decoded.
    """
    paths = list(dict.fromkeys(sample.image for sample in samples))
    images.admitted = frozenset(paths)
    theirs = replace(images, lost={}, opened=0)
    good = set(readable(theirs, paths)) if paths else set()
    images.lost.update(theirs.lost)
    return [sample for sample in samples if sample.image in good]


def longer_than_a_pack(items: Iterable[CaptionItem], plan: PackPlan) -> list[CaptionItem]:
    """Captions that exceed the budget even with nothing beside them."""
    return [item for item in items if plan.budget is not None and plan.row_tokens(item) > plan.budget]


def too_long_line(items: Sequence[CaptionItem], plan: PackPlan) -> str:
    """Names the first of them."""
    first = items[0]
    return (
        f"{len(items)} captions alone exceed --tokens_per_batch {plan.budget} and are left out; the first, of "
        f"{first.image} ({first.key}), takes {plan.row_tokens(first)} tokens"
    )


def _without(items: Sequence[CaptionItem], left_out: Sequence[CaptionItem]) -> list[CaptionItem]:
    keys = {item.key for item in left_out}
    return [item for item in items if item.key not in keys]


def token_counts(items: Sequence[CaptionItem], plan: PackPlan) -> dict[str, int]:
    """Tokens that an epoch feeds to the decoder: every sample a row of its own, and every image a group."""
    return {
        "tokens_one_by_one": sum(plan.row_tokens(sample) for sample in one_by_one(items)),
        "tokens_shared": sum(plan.tokens([plan.unit(group)]) for group in image_groups(merged(items))),
    }
