"""From resolved arguments to a trainer that can run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from common.args import suggestion
from common.errors import ArgumentError
from common.images import ImageFolder
from common.progress import announce
from common.thresholds import Thresholds
from finetune.arguments import LossArguments, OptimizerArguments, TrackingArguments
from finetune.batches import Collator
from finetune.data import CaptionItem
from finetune.forward import SpanLosses
from finetune.loss import NEEDS_REFERENCE, objective
from finetune.presets import GOLD, NEG, POS, SENT, LossWeights, StepDefaults
from finetune.reference import measured_once, with_references
from finetune.run_folder import RunFolder
from finetune.sampling import BatchOrder, TrainingSet, paper_set, shared_set, with_sample_weights
from finetune.tower_cache import TowerCache
from finetune.trainer import SpanTrainer
from finetune.training_data import Corpus

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from common.models.base import CaptionModel

VALIDATIONS = 4  # in a run, where nothing else is asked for
ROWS_AT_ONCE = 8  # on the CPU; measured on the mini model: 1.45 s a step of 64 rows against 1.95 s all at once
CACHE_MB = 512  # on the CPU, where encoding images one by one costs little


@dataclass(frozen=True)
class Job:
    """Everything a run is made of, apart from the model."""

    loss: LossArguments
    optimizer: OptimizerArguments
    tracking: TrackingArguments
    weights: LossWeights
    thresholds: Thresholds
    defaults: StepDefaults
    folder: RunFolder
    seed: int

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.defaults.lr if self.optimizer.train_lr is None else self.optimizer.train_lr

    @property
    def images(self) -> int:
        """Images a step, with shared sampling."""
        return self.defaults.images if self.optimizer.train_bs is None else self.optimizer.train_bs

    @property
    def run_name(self) -> str:
        """Name of the run in the logs."""
        return self.tracking.run_name or self.folder.path.name


def training_set(job: Job, captions: Sequence[CaptionItem], gold: Sequence[CaptionItem]) -> TrainingSet:
    """Pools and weights as `--sampling` says."""
    args = job.optimizer
    if args.sampling == "shared":
        data = shared_set(captions, gold, job.images, args.train_bs_gold)
    else:
        sizes = {
            POS: args.train_bs_pos,
            NEG: args.train_bs_neg,
            SENT: args.train_bs_sent,
            GOLD: args.train_bs_gold,
        }
        data = paper_set(captions, gold, sizes)
    return with_sample_weights(data, job.weights, job.thresholds)


def number_of_steps(job: Job, data: TrainingSet, processes: int) -> int:
    """Optimizer steps of the run. Raises ArgumentError for an accumulation or a number of epochs that makes none."""
    accumulation = job.optimizer.gradient_accumulation_steps
    if accumulation < 1:
        raise ArgumentError(f"--gradient_accumulation_steps is {accumulation}; give a number from 1")
    if job.optimizer.max_steps > 0:
        return job.optimizer.max_steps
    if not job.optimizer.train_epoch > 0:
        raise ArgumentError(f"--train_epoch is {job.optimizer.train_epoch:g}; give a number above 0, or --max_steps")
    return math.ceil(data.batches(job.optimizer.train_epoch) / (accumulation * processes))


def library_settings(job: Job, device: torch.device) -> TrainingArguments:
    """The settings of transformers' Trainer, but for the number of steps.

    Raises ArgumentError for a value that it refuses.
    """
    from transformers import SchedulerType, TrainingArguments

    args, tracking = job.optimizer, job.tracking
    schedules = [s.value for s in SchedulerType]
    if args.lr_scheduler_type not in schedules:
        near = suggestion(args.lr_scheduler_type, schedules)
        raise ArgumentError(f"unknown schedule {args.lr_scheduler_type} (from --lr_scheduler_type){near}")
    if device.type == "cuda" and device.index:
        raise ArgumentError(
            f"training takes the first visible GPU; for {device} set CUDA_VISIBLE_DEVICES={device.index}"
        )
    # The library's "constant" passes over a warm-up without a word.
    warm = args.lr_scheduler_type == "constant" and args.warmup_steps > 0
    settings = TrainingArguments(
        output_dir=str(job.folder.path),
        run_name=job.run_name,
        seed=job.seed,
        use_cpu=device.type == "cpu",
        learning_rate=job.lr,
        weight_decay=args.train_wd,
        warmup_steps=args.warmup_steps,
        lr_scheduler_type="constant_with_warmup" if warm else args.lr_scheduler_type,
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
        report_to=tracking.report_to,
        dataloader_num_workers=tracking.num_workers,
        remove_unused_columns=False,
    )
    settings._n_gpu = min(settings.n_gpu, 1)  # several GPUs are used by launching several processes
    return settings


def build_trainer(
    job: Job, model: CaptionModel, images: ImageFolder, corpus: Corpus, gold: Sequence[CaptionItem]
) -> SpanTrainer:
    """Choose what is trained, lay out the steps, and measure the reference where the objective needs one."""
    args = job.optimizer
    torch.manual_seed(job.seed)
    master = torch.bfloat16 if args.paper_numerics else torch.float32
    trained = model.set_trainable(args.trainable, master)
    if args.paper_numerics:
        announce(
            f"pure bfloat16: a step of {job.lr:g} rounds to nothing for {_stuck(trained, job.lr):.1%} of the weights"
        )
    rows_at_once = ROWS_AT_ONCE if model.device.type == "cpu" else None
    module = SpanLosses(model, objective(job.loss.objective, job.loss.beta), rows_at_once)
    limit = cache_limit(job.tracking, model)
    collator = Collator(model, images, TowerCache(model, images, limit) if limit else None)
    if job.loss.objective in NEEDS_REFERENCE:
        losses = measured_once(job.folder.references, module, collator, corpus.train, max(8, job.images))
        corpus = replace(corpus, train=with_references(corpus.train, losses))
    data = training_set(job, corpus.train, gold)
    settings = library_settings(job, model.device)
    settings.max_steps = number_of_steps(job, data, settings.world_size)
    settings.eval_steps = job.tracking.eval_steps or max(1, settings.max_steps // VALIDATIONS)
    batches = settings.max_steps * args.gradient_accumulation_steps * settings.world_size
    order = BatchOrder(data, batches, job.seed)
    return SpanTrainer(module, settings, order, collator, corpus.valid, job.weights, job.folder, list(trained))


def cache_limit(tracking: TrackingArguments, model: CaptionModel) -> int:
    """Bytes for the frozen tower's outputs; 0 where they cannot be kept.

    That is: the tower is trained, the model has no separate one, or images are opened by other processes.
    """
    if tracking.num_workers > 0 or not model.sees_apart or any(p.requires_grad for p in model.vision.parameters()):
        return 0
    default = CACHE_MB if model.device.type == "cpu" else 0
    return (default if tracking.image_cache_mb is None else tracking.image_cache_mb) << 20


def _stuck(trained: dict[str, Any], lr: float) -> float:
    """Share of the weights that a step of size `lr` leaves as they are."""
    same = sum(int((p - lr == p).sum()) for p in trained.values())
    return same / sum(p.numel() for p in trained.values())
