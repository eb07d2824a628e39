"""What a run trains on: items that fit into a pack, and the report before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.files.images import ImageFolder
from finetune.corpus.corpus import NAMES, Corpus, build_corpus, item_counts, readable
from finetune.corpus.gold import GoldSample, encode_gold
from finetune.corpus.records import CaptionItem, count_spans, one_by_one
from finetune.corpus.samples import require_cut_at
from finetune.setup.engine import count_image_tokens, pack_plan, uneven_tokens
from finetune.setup.inputs import Inputs
from finetune.setup.job import Job
from finetune.steps.packs import PackPlan, image_groups, merged

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass(frozen=True)
class TrainingData:
    """Images, items and how they are packed.

    Attributes:
        too_long: items that were left out, as no pack has room for them.
        beyond: items that were left out, as the model has no positions for them; it has `positions`.
    """

    images: ImageFolder
    corpus: Corpus
    gold: list[CaptionItem]
    plan: PackPlan
    too_long: list[CaptionItem]
    beyond: list[CaptionItem] = field(default_factory=list)
    positions: int | None = None

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
            "longer_than_the_positions": len(self.beyond),
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
        lines += [beyond_line(self.beyond, self.plan, self.positions)] if self.beyond else []
        lines += [too_long_line(self.too_long, self.plan)] if self.too_long else []
        return lines


def prepare(job: Job, inputs: Inputs, model: CaptionModel) -> TrainingData:
    """Read, filter and tokenise; find the size of a pack; leave out what fits neither the model nor a pack.

    Raises DataError for sets that are empty, or with `--strict` for a caption that does not fit; CheckpointError for an
    encoder that gives another number of image tokens than its checkpoint says.
    """
    images, corpus, gold = _read(job, inputs, model)
    everything = [*corpus.train, *corpus.valid, *gold]
    image_tokens = count_image_tokens(model, images, corpus.train[0].image)
    by_image = uneven_tokens(model, images, everything)
    sizes = PackPlan(image_tokens, model.packs, by_image=by_image)
    beyond = longer_than(everything, sizes, model.positions)
    if beyond:
        line = beyond_line(beyond, sizes, model.positions)
        corpus, gold = _kept(job, corpus, gold, beyond, f"{line}; shorten or remove them")
    a_step = job.images if job.optimizer.sampling == "shared" else sum(job.samples.values())
    plan = pack_plan(job.engine, model, [*corpus.train, *gold], image_tokens, a_step, by_image)
    bounded = job.engine.tokens_per_batch is not None
    too_long = longer_than([*corpus.train, *corpus.valid, *gold], plan, plan.budget) if bounded else []
    if too_long:
        advice = f"{too_long_line(too_long, plan)}; raise --tokens_per_batch"
        corpus, gold = _kept(job, corpus, gold, too_long, advice)
    return TrainingData(images, corpus, gold, plan, too_long, beyond, model.positions)


def _read(job: Job, inputs: Inputs, model: CaptionModel) -> tuple[ImageFolder, Corpus, list[CaptionItem]]:
    """Images, samples and instruction data, tokenised. Raises DataError."""
    images = ImageFolder(inputs.images, turn=inputs.turn, reduced=model.reduced)
    split = (job.valid_split, job.seed)
    if inputs.repaired:
        require_cut_at(inputs.repaired, job.thresholds)
    corpus = build_corpus(inputs.samples, images, model, job.thresholds, job.weights.active(), split)
    gold = encode_gold(readable_gold(inputs.gold, images), model)
    return images, corpus, gold


def _kept(
    job: Job, corpus: Corpus, gold: list[CaptionItem], left_out: Sequence[CaptionItem], line: str
) -> tuple[Corpus, list[CaptionItem]]:
    """What is left without some items.

    Args:
        line: which were left out, and what to do about it.

    Raises DataError with `--strict`, or where nothing is left of a kind that is learnt from.
    """
    if job.engine.strict:
        raise DataError(f"{line}, or leave out --strict")
    train, valid = (_without(side, left_out) for side in (corpus.train, corpus.valid))
    kept = replace(corpus, train=train, valid=valid, counts=corpus.counts | item_counts(train, valid))
    rest = _without(gold, left_out)
    left = count_spans([*kept.train, *rest])
    gone = [NAMES.get(kind, "instruction") for kind in job.weights.active() if not left[kind]]
    if gone or not kept.train:
        raise DataError(f"{line}: {f'no {gone[0]} sample' if kept.train else 'none'} is left")
    return kept, rest


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


def longer_than(items: Iterable[CaptionItem], plan: PackPlan, most: int | None) -> list[CaptionItem]:
    """Captions that take more tokens than `most` with their image and prompt, with nothing beside them."""
    return [item for item in items if most is not None and plan.row_tokens(item) > most]


def too_long_line(items: Sequence[CaptionItem], plan: PackPlan) -> str:
    """Names the first of those that no pack has room for."""
    return (
        f"{len(items)} captions alone exceed --tokens_per_batch {plan.budget} and are left out; {_first(items, plan)}"
    )


def beyond_line(items: Sequence[CaptionItem], plan: PackPlan, positions: int | None) -> str:
    """Names the first of those that the model has no positions for."""
    return (
        f"{len(items)} captions with image and prompt exceed the model's {positions} positions "
        f"(max_position_embeddings) and are left out; {_first(items, plan)}"
    )


def _first(items: Sequence[CaptionItem], plan: PackPlan) -> str:
    first = items[0]
    return f"the first, of {first.image} ({first.key}), takes {plan.row_tokens(first)} tokens"


def _without(items: Sequence[CaptionItem], left_out: Sequence[CaptionItem]) -> list[CaptionItem]:
    keys = {item.key for item in left_out}
    return [item for item in items if item.key not in keys]


def token_counts(items: Sequence[CaptionItem], plan: PackPlan) -> dict[str, int]:
    """Tokens that an epoch feeds to the decoder: every sample a row of its own, and every image a group."""
    return {
        "tokens_one_by_one": sum(plan.row_tokens(sample) for sample in one_by_one(items)),
        "tokens_shared": sum(plan.tokens([plan.unit(group)]) for group in image_groups(merged(items))),
    }
