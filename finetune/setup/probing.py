"""From flags to the probes of a run: with what they judge, on which images, how often, at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.files.images import ImageFolder
from common.progress import announce
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


def plan_probes(job: Job, plan: Plan, prober: Prober | None) -> tuple[ProbePlan, Prober] | None:
    """When the run that was laid out is probed, and with what; None where it is not. The cost is said."""
    if prober is None:
        return None
    args, steps, processes = job.probe, plan.settings.max_steps, plan.settings.world_size
    tokens = plan.tokens_a_batch() * len(plan.steps)
    cost = ProbeCost(prober.model.device.type, len(prober.names), prober.each, tokens, processes)
    between = min(steps, args.probe_steps or cost.steps_between(steps))
    announce(cost.line(steps, between))
    bounds = Bounds(args.probe_max_object_loss, args.probe_max_word_loss, args.probe_max_repetition)
    return ProbePlan(between, bounds if args.keep == "best" else None, args.probe_patience, args.probe_retreats), prober
