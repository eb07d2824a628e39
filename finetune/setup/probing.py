"""From flags to the probes of a run: with what they judge, on which images, how often, at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.files.images import ImageFolder
from common.progress import announce
from finetune.corpus.corpus import Corpus
from finetune.corpus.records import POS, CaptionItem, only_kinds
from finetune.probe.choice import Bounds
from finetune.probe.cost import ProbeCost
from finetune.probe.prober import Prober, chosen_images
from finetune.run.probing import ProbePlan
from finetune.setup.data import TrainingData
from finetune.setup.inputs import Inputs
from finetune.setup.job import Job

if TYPE_CHECKING:
    from common.models.base import CaptionModel
    from finetune.setup.build import Plan


def make_prober(job: Job, inputs: Inputs, data: TrainingData, model: CaptionModel) -> Prober | None:
    """What makes the probes, loaded; None where there are none.

    Raises DataError without validation images; CheckpointError, MissingDependencyError for scorer and extractor.
    """
    if job.instruments is None:
        return None
    names = chosen_images(data.corpus.valid_images, job.probe.probe_images, job.seed)
    whole = ImageFolder(inputs.images, turn=inputs.turn)
    dtype = "bfloat16" if model.device.type == "cuda" else "float32"
    prober = Prober(
        model,
        data.images,
        whole,
        names,
        job.probe.probe_captions,
        job.seed,
        job.instruments,
        job.thresholds,
        dtype,
    )
    prober.load()
    return prober


def plan_probes(job: Job, plan: Plan, prober: Prober | None) -> ProbePlan | None:
    """When the run that was laid out is probed; None where it is not. The cost is said."""
    if prober is None:
        return None
    args, steps, processes = job.probe, plan.settings.max_steps, plan.settings.world_size
    tokens = plan.tokens_a_batch() * len(plan.steps)
    cost = ProbeCost(prober.model.device.type, len(prober.names), prober.each, tokens, processes)
    between = min(steps, args.probe_steps or cost.steps_between(steps))
    announce(cost.line(steps, between))
    bounds = Bounds(
        args.probe_max_object_loss, args.probe_max_word_loss, args.probe_max_repetition, args.probe_max_positive_rise
    )
    return ProbePlan(between, bounds if args.keep == "best" else None, args.probe_patience, args.probe_retreats)


def positive_items(corpus: Corpus, held_out: Sequence[str], seed: int) -> tuple[list[CaptionItem], list[CaptionItem]]:
    """Items with the positive spans alone: of the probe's validation images, and of as many training images."""
    trained = chosen_images(corpus.train_images, len(held_out), seed)
    sides = ((corpus.valid, set(held_out)), (corpus.train, set(trained)))
    first, second = (only_kinds([i for i in items if i.image in names], (POS,)) for items, names in sides)
    return first, second
