"""From resolved arguments to a trainer that can run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from common.errors import ArgumentError
from common.models.weights.selection import add_lora, parts_line, usual_adapters
from common.processes import this_process
from common.progress import announce
from finetune.corpus.records import CaptionItem
from finetune.objectives.loss import NEEDS_REFERENCE, objective
from finetune.run.trainer import SpanTrainer
from finetune.setup.arguments import OptimizerArguments
from finetune.setup.data import TrainingData
from finetune.setup.engine import fill_cache, switch_on, tower_cache
from finetune.setup.job import Job
from finetune.steps.collate import Collator
from finetune.steps.packs import PackPlan, Unit
from finetune.steps.reference import measured_once, with_references
from finetune.steps.sampling import Steps, StepSource, averaged_over_tokens, paper_set, shared_set, with_sample_weights
from finetune.steps.span_losses import SpanLosses
from finetune.steps.token_steps import TokenSet, token_set

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from common.models.base import CaptionModel

SAMPLED_STEPS = 16  # that the cost is estimated from
VALIDATIONS = 4  # in a run, where nothing else is asked for


def training_set(job: Job, captions: Sequence[CaptionItem], gold: Sequence[CaptionItem], plan: PackPlan) -> StepSource:
    """What is drawn for a step, and the weights, as `--sampling` says."""
    gold_batch = job.optimizer.train_bs_gold
    if job.token_steps:
        data: StepSource = token_set(captions, gold, plan, gold_batch)
    elif job.optimizer.sampling == "shared":
        data = shared_set(captions, gold, job.images, gold_batch)
    else:
        data = paper_set(captions, gold, job.samples)
    if job.loss.average == "tokens":
        data = averaged_over_tokens(data)
    return with_sample_weights(data, job.weights, job.thresholds)


def number_of_steps(job: Job, data: StepSource, processes: int) -> int:
    """Optimizer steps of the run. Raises ArgumentError for an accumulation or a number of epochs that makes none."""
    accumulation = job.optimizer.gradient_accumulation_steps
    if accumulation < 1:
        raise ArgumentError(f"--gradient_accumulation_steps is {accumulation}; give a number from 1")
    if job.optimizer.max_steps > 0:
        return job.optimizer.max_steps
    if not job.optimizer.train_epoch > 0:
        raise ArgumentError(f"--train_epoch is {job.optimizer.train_epoch:g}; give a number above 0, or --max_steps")
    return math.ceil(data.batches(job.optimizer.train_epoch, job.seed) / (accumulation * processes))


def library_settings(job: Job, device: torch.device) -> TrainingArguments:
    """The settings of transformers' Trainer, but for the number of steps.

    Raises ArgumentError for a value that it refuses.
    """
    from transformers import TrainingArguments

    args, tracking = job.optimizer, job.tracking
    schedule = _schedule(args)
    if device.type == "cuda" and device.index not in (None, this_process().local_rank):
        raise ArgumentError(
            f"training takes the first visible GPU; for {device} set CUDA_VISIBLE_DEVICES={device.index}"
        )
    settings = TrainingArguments(
        output_dir=str(job.folder.path),
        run_name=job.run_name,
        seed=job.seed,
        use_cpu=device.type == "cpu",
        learning_rate=job.lr,
        weight_decay=args.train_wd,
        warmup_steps=args.warmup_steps,
        lr_scheduler_type=schedule,
        max_grad_norm=args.max_grad_norm,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        logging_steps=tracking.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=1,  # set when the number of steps is known
        ddp_find_unused_parameters=False,
        save_strategy="steps",
        save_steps=tracking.save_steps,
        report_to=tracking.trackers(),
        dataloader_num_workers=job.engine.num_workers,
        ddp_broadcast_buffers=False,
        remove_unused_columns=False,
    )
    settings._n_gpu = min(settings.n_gpu, 1)  # several GPUs are used by launching several processes
    return settings


def _schedule(args: OptimizerArguments) -> str:
    """The library's name of the schedule; its "constant" passes over a warm-up without a word."""
    warm = args.lr_scheduler_type == "constant" and args.warmup_steps > 0
    return "constant_with_warmup" if warm else args.lr_scheduler_type


@dataclass(frozen=True)
class Plan:
    """The steps of a run, laid out; nothing has been written for it.

    Attributes:
        trained: names of the trained parameters.
    """

    module: SpanLosses
    settings: TrainingArguments
    steps: Steps
    collator: Collator
    trained: list[str]

    def looked_at(self) -> list[list[list[Unit]]]:
        """Packs of the first batches."""
        return [self.collator.plan.cut(self.steps[number]) for number in range(min(SAMPLED_STEPS, len(self.steps)))]

    def tokens_a_batch(self) -> float:
        """Mean of the first batches."""
        looked_at = self.looked_at()
        return sum(self.collator.plan.tokens(pack) for packs in looked_at for pack in packs) / len(looked_at)


def plan_run(job: Job, model: CaptionModel, data: TrainingData, dry_run: bool = False) -> Plan:
    """Choose what is trained, measure the reference where the objective needs one, and lay out the steps.

    Args:
        dry_run: neither reference nor image features are made, which would be written.
    """
    trained = choose_trained(job, model)
    switch_on(job.engine, model, data.plan)
    module = SpanLosses(model, objective(job.loss.objective, job.loss.beta))
    collator = Collator(model, data.images, data.plan, tower_cache(job.engine, model, data.images))
    settings = library_settings(job, model.device)
    captions: Sequence[CaptionItem] = data.corpus.train
    if not dry_run:
        fill_cache(collator.cache, [*data.corpus.train, *data.corpus.valid, *data.gold])
    if job.loss.objective in NEEDS_REFERENCE and not dry_run:
        with settings.main_process_first(local=False):
            captions = with_references(captions, measured_once(job.folder.references, module, collator, captions))
    source = training_set(job, captions, data.gold, data.plan)
    if isinstance(source, TokenSet):
        announce(f"packs of {data.plan.budget} tokens are {source.fill(job.seed):.0%} full")
    settings.max_steps = number_of_steps(job, source, settings.world_size)
    settings.eval_steps = job.tracking.eval_steps or max(1, settings.max_steps // VALIDATIONS)
    batches = settings.max_steps * job.optimizer.gradient_accumulation_steps * settings.world_size
    return Plan(module, settings, Steps(source, batches, job.seed), collator, list(trained))


def build_trainer(job: Job, data: TrainingData, plan: Plan) -> SpanTrainer:
    """The trainer of a run that has been laid out. It makes the run's folder."""
    return SpanTrainer(
        plan.module, plan.settings, plan.steps, plan.collator, data.corpus.valid, job.weights, job.folder, plan.trained
    )


def choose_trained(job: Job, model: CaptionModel) -> dict[str, Any]:
    """Name -> parameter of what `--trainable` says, as masters of the right dtype."""
    args = job.optimizer
    torch.manual_seed(job.seed)
    if args.lora_given():
        base = model.lora or usual_adapters(model)
        add_lora(model, replace(base, **args.lora_settings()))
    trained = model.set_trainable(args.trainable, torch.bfloat16 if args.paper_numerics else torch.float32)
    announce(f"trained: {parts_line(model, trained)}")
    if args.paper_numerics:
        announce(
            f"pure bfloat16: a step of {job.lr:g} rounds to nothing for {_stuck(trained, job.lr):.1%} of the weights"
        )
    return trained


def _stuck(trained: dict[str, Any], lr: float) -> float:
    """Share of the weights that a step of size `lr` leaves as they are."""
    same = sum(int((p - lr == p).sum()) for p in trained.values())
    return same / sum(p.numel() for p in trained.values())


def cost_line(run: Plan) -> str:
    """Steps, tokens and floating-point operations of the run, said before it starts."""
    steps, plan, model = run.steps, run.collator.plan, run.module.caption_model
    looked_at = run.looked_at()
    tokens = run.tokens_a_batch()
    packs = sum(map(len, looked_at)) / len(looked_at)
    decoder = sum(p.numel() for p in model.lm.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f"{run.settings.max_steps} steps, {len(steps)} batches of about {tokens:,.0f} tokens in {packs:.1f} packs of "
        f"up to {plan.budget or 'any number of'} tokens ({plan.image_tokens} an image); {trained:,} trained parameters;"
        f" about {4 * decoder * tokens * len(steps) / 1e12:,.1f} TFLOP"
    )
