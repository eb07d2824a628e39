"""Arguments of `finetune/train.py`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.args import ModelArguments, RunArguments, ThresholdArguments, flag
from common.errors import ArgumentError
from finetune.objectives.schedules import SHAPES
from finetune.probe.arguments import ProbeArguments

TRACKERS = ("wandb", "tensorboard", "mlflow", "none")
AVERAGES = ("samples", "tokens")
OBJECTIVES = ("efuf", "npo", "simnpo", "unlikelihood")  # by name, as what they stand for needs torch
PRESETS = ("paper", "release")
# Of transformers' schedules those that are a function of the step and need nothing more to be said: a run can go back
# in them, and none is refused by the library once the model is loaded.
SCHEDULES = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
)  # fmt: skip


@dataclass
class TrainDataArguments:
    """The three sets, and instruction data. Without paths everything is the mini world's."""

    pos_neg_data_path: str | None = flag(None, "spans, from finetune/format_data.py or the published set")
    sentence_data_path: str | None = flag(None, "whole captions, from the same")
    repaired_data_path: str | None = flag(None, "repaired captions, from the same; learnt where --repair_w is above 0")
    image_dir_path: str | None = flag(None, "folder of the images")
    gold_data_path: str | None = flag(
        None, "instruction data: LLaVA's JSON layout, or the answers of insight/answer.py"
    )
    gold_image_dir_path: str | None = flag(None, "folder of its images; default: --image_dir_path")
    gold_size: int = flag(10_000, "records of the instruction data to use, from the first", least=1)
    valid_data_split: float = flag(0.05, "share of the images that is kept for validation", least=0, most=0.9)


@dataclass
class LossArguments:
    """The loss: a preset, and single values laid over it."""

    preset: str = flag(
        "paper", "paper: weights as the paper states them; release: as its published code has them", PRESETS
    )
    objective: str = flag("efuf", "of the negative spans; efuf is ascent, the others are bounded", OBJECTIVES)
    beta: float = flag(0.1, "of npo and simnpo", above=0)
    average: str = flag(
        "samples", "samples: a set's loss is the mean of its samples' means; tokens: of all their tokens", AVERAGES
    )
    neg_w_start: float | None = flag(
        None, "weight of the negatives at the start; of this and all below the default is the preset's", least=0
    )
    neg_w_end: float | None = flag(None, "and at the last step", least=0)
    neg_w_start_step_pos: float | None = flag(
        None, "share of the steps after which it begins to change", least=0, most=1
    )
    neg_w_sched_type: str | None = flag(None, "how it changes", tuple(SHAPES))
    pos_w_start: float | None = flag(None, "weight of the positives at the start", least=0)
    pos_w_end: float | None = flag(None, "and at the last step", least=0)
    pos_w_start_step_pos: float | None = flag(
        None, "share of the steps after which it begins to change", least=0, most=1
    )
    pos_w_sched_type: str | None = flag(None, "how it changes", tuple(SHAPES))
    sent_w: float | None = flag(None, "weight of the sentences", least=0)
    gold_w: float | None = flag(None, "weight of the instruction data", least=0)
    repair_w: float | None = flag(None, "weight of the repaired captions", least=0)
    score_weights: bool | None = flag(None, "multiply each sample's loss by its CLIP score, as the release does")


@dataclass
class OptimizerArguments:
    """Steps and the optimizer. The mini model has its own learning rate and batch (`objectives/presets.py`)."""

    trainable: str = flag(
        "connector", "connector, lm_head, lora, decoder, decoder:N (from block N), all; joined with +"
    )
    lora_rank: int | None = flag(None, "rank of the adapters of --trainable lora; default 16", least=1)
    lora_alpha: int | None = flag(None, "their scale times the rank; default 32", least=1)
    lora_dropout: float | None = flag(None, "of their input in training; default 0, which keeps losses exact")
    lora_targets: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "layers that get one: q_proj v_proj ...; default: all linear layers of the decoder's blocks"
    )
    train_lr: float | None = flag(None, "learning rate; default 1e-5, for the mini model its own", least=0)
    train_wd: float = flag(0.05, "weight decay, not of biases and norms", least=0)
    train_epoch: float = flag(1.0, "passes over the images (sampling shared) or negatives (paper)", above=0)
    max_steps: int = flag(-1, "optimizer steps instead of epochs")
    sampling: str = flag("shared", "shared: whole images; paper: samples of each kind drawn apart", ("shared", "paper"))
    train_bs: int | None = flag(
        None,
        "images a step (sampling shared), with all their captions; default 1, for the mini model its own; 0, or "
        "nothing, with --tokens_per_batch: as many as fit into one pack",
        least=0,
    )
    train_bs_pos: int = flag(1, "positive samples a step (sampling paper)", least=0)
    train_bs_neg: int = flag(1, "negative samples a step (sampling paper)", least=0)
    train_bs_sent: int = flag(1, "sentences a step (sampling paper)", least=0)
    train_bs_gold: int = flag(1, "instruction samples a step", least=0)
    train_bs_repair: int = flag(1, "repaired captions a step (sampling paper)", least=0)
    gradient_accumulation_steps: int = flag(1, "batches in an optimizer step", least=1)
    max_grad_norm: float = flag(1.0, "clip the gradient to this norm; 0: do not", least=0)
    warmup_steps: int = flag(0, "steps of rising learning rate", least=0)
    lr_scheduler_type: str = flag("constant", "the learning rate over the run, by transformers' names", SCHEDULES)
    paper_numerics: bool = flag(False, "train in pure bfloat16, as published; most steps then round to nothing")

    def lora_given(self) -> list[str]:
        """Names of the flags of low-rank adapters that were given."""
        return [name for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets") if self._given(name)]

    def _given(self, name: str) -> bool:
        return getattr(self, name) not in (None, [])

    def lora_settings(self) -> dict[str, Any]:
        """Given values by their names in `LoraSettings`."""
        values = {name.removeprefix("lora_"): getattr(self, name) for name in self.lora_given()}
        if "targets" in values:
            values["targets"] = tuple(part for word in values["targets"] for part in re.split(r"[,+\s]+", word) if part)
        return values


@dataclass
class TrackingArguments:
    """Logging, validation and checkpoints."""

    run_name: str | None = flag(None, "name of the run, and of its folder; default {model}-efuf")
    report_to: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "trackers: wandb (offline unless logged in), tensorboard, mlflow, several joined with commas; default none"
    )
    wandb_user: str | None = flag(None, "W&B entity; where no tracker is named, W&B is meant")
    logging_steps: int = flag(10, "steps between two logs", least=1)
    eval_steps: int | None = flag(None, "steps between two validations; default: a quarter of the run", least=1)
    save_steps: int = flag(500, "steps between two checkpoints", least=1)

    def trackers(self) -> list[str]:
        """Names of the trackers, none for `none`. Raises ArgumentError for an unknown one."""
        named = [name.strip().lower() for words in self.report_to for name in words.split(",") if name.strip()]
        for name in named:
            if name not in TRACKERS:
                raise ArgumentError(f"--report_to is '{name}'; give {', '.join(TRACKERS[:-1])} or none")
        if not named and self.wandb_user not in (None, "", "none"):
            return ["wandb"]
        return [name for name in dict.fromkeys(named) if name != "none"]


@dataclass
class EngineArguments:
    """How a step is computed; but for --tokens_per_batch without --train_bs, not what it means."""

    tokens_per_batch: int | None = flag(None, "tokens that go through the decoder at once; bounds the memory", least=1)
    strict: bool = flag(
        False,
        "fail, rather than skip, if a caption alone exceeds --tokens_per_batch, or what the model has positions for",
    )
    gradient_checkpointing: bool = flag(False, "compute the decoder's activations twice instead of keeping them")
    compile: bool | None = flag(None, "compile the decoder's layers; default: on a GPU, where packs have one length")
    cache_image_features: str | None = flag(
        None, "folder for outputs of the frozen vision tower, filled before training"
    )
    image_cache_mb: int | None = flag(
        None, "megabytes of memory for the same; 0: none; default 512 on the CPU, 0 on a GPU", least=0
    )
    num_workers: int = flag(0, "processes that open images; on a GPU 8 keep up with a 7B model", least=0)


SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


class Flags(NamedTuple):
    """All groups of the script, in the order of `GROUPS`."""

    model: ModelArguments
    data: TrainDataArguments
    thresholds: ThresholdArguments
    loss: LossArguments
    optimizer: OptimizerArguments
    tracking: TrackingArguments
    engine: EngineArguments
    probe: ProbeArguments
    run: RunArguments

    def check(self) -> None:
        """Raises ArgumentError as `check_together`, and for what this machine or launch does not give.

        Accelerate may have been told to spread the weights; what gathers them is hung on the layers' own forward
        functions, which packs do not go through.
        """
        self.check_together()
        self._check_bits()
        for variable, name in SHARDING.items():
            if os.environ.get(variable, "false").lower() == "true":
                raise ArgumentError(
                    f"accelerate was launched with {name}, which training does not take: every process holds the "
                    "frozen decoder whole; launch with --multi_gpu, and where a card is too small add --load_in_4bit "
                    "or --gradient_checkpointing"
                )

    def check_together(self) -> None:
        """Raise ArgumentError for flags of other steps, and for those that do not fit each other, on any machine."""
        self.tracking.trackers()
        self._check_probe()
        if (self.run.start_pos, self.run.end_pos) != (0, -1):
            raise ArgumentError(
                "--start_pos and --end_pos cut lists of images; training takes --max_steps or --train_epoch"
            )
        if "lora" not in self.optimizer.trainable.split("+") and self.optimizer.lora_given():
            raise ArgumentError(
                f"--{self.optimizer.lora_given()[0]} is of low-rank adapters, and --trainable is "
                f"{self.optimizer.trainable}; add --trainable lora, or connector+lora"
            )
        if self.optimizer.lora_given():
            from common.models.body import LoraSettings

            LoraSettings(**self.optimizer.lora_settings())

    def _check_probe(self) -> None:
        """Raise ArgumentError for flags of the probe where there is none, and where it would have no image."""
        self.probe.check()
        if self.probe.is_on and self.data.valid_data_split == 0:
            raise ArgumentError(
                "--valid_data_split 0 leaves no image for the probe, which captions validation images; raise it, or "
                "leave out --probe_steps and --keep best"
            )

    def _check_bits(self) -> None:
        """Raise ArgumentError where 4 or 8 bits cannot be had or would be trained: before minutes of work."""
        parts = {part.partition(":")[0] for part in self.optimizer.trainable.split("+")}
        if self.model.fewer_bits and parts & {"decoder", "all"}:
            raise ArgumentError(
                f"--trainable {self.optimizer.trainable}: weights of 4 or 8 bits cannot be trained; take connector, "
                f"lora or both, or leave out {self.model.fewer_bits}"
            )
        if self.model.fewer_bits and self.optimizer.paper_numerics:
            raise ArgumentError(
                f"--paper_numerics trains in pure bfloat16, as published, and {self.model.fewer_bits} does not; leave "
                "one of them out"
            )
        if self.model.fewer_bits or self.model.fp8_from_block is not None:
            from common.models import require_bits

            require_bits(self.model)


GROUPS = (
    ModelArguments,
    TrainDataArguments,
    ThresholdArguments,
    LossArguments,
    OptimizerArguments,
    TrackingArguments,
    EngineArguments,
    ProbeArguments,
    RunArguments,
)
