"""Fine-grained unlearning: three-set training on mined spans.

    python finetune/train.py --model llava                              # the built-in mini world
    python finetune/train.py --llava_path llava-1.5-7b-hf --pos_neg_data_path pos_neg.json \\
        --sentence_data_path sentences.json --image_dir_path train2014

Leaves trained.safetensors in the run's folder (checkpoints/llava-efuf), which `--llava_ckpt_load_path` takes. Run the
same command again to continue a killed run; the result is the same, byte for byte. `--preset`, `--objective` and
`--sampling` are explained in `finetune/README.md`.

Raises ArgumentError for flags that do not fit, DataError for missing, malformed or empty sets, CheckpointError for
weights, DivergedError for a loss that is not finite.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.args import ModelArguments, RunArguments, ThresholdArguments, parse
from common.cli import run
from common.errors import ArgumentError
from common.manifest import file_hash, manifest, model_hash, write_manifest
from common.mini_world import MiniWorld, default_path, is_mini_model
from common.paths import CHECKPOINTS, MINI_LLAVA, display
from common.progress import announce
from common.resume_guard import begin_or_continue
from common.thresholds import resolve
from finetune.arguments import (
    EngineArguments,
    LossArguments,
    OptimizerArguments,
    TrackingArguments,
    TrainDataArguments,
)
from finetune.gold import GoldSample, read_gold
from finetune.presets import GOLD, MINI_STEPS, PUBLISHED_STEPS, loss_weights
from finetune.run_folder import RunFolder
from finetune.tracking import prepare_tracking
from finetune.training_data import Samples, read_samples

if TYPE_CHECKING:
    from finetune.build import Job
    from finetune.trainer import SpanTrainer

GROUPS = (
    ModelArguments,
    TrainDataArguments,
    ThresholdArguments,
    LossArguments,
    OptimizerArguments,
    TrackingArguments,
    EngineArguments,
    RunArguments,
)


SAMPLED_STEPS = 16  # that the cost is estimated from
SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


@dataclass(frozen=True)
class Inputs:
    """Files and folders of a run, resolved."""

    pos_neg: Path
    sentences: Path
    images: Path
    samples: Samples
    gold: tuple[GoldSample, ...]
    model: Path | str | None


def refuse_sharding() -> None:
    """Raises ArgumentError where accelerate was told to spread the weights over processes.

    What gathers them is hung on the layers' own forward functions, which packs do not go through.
    """
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise ArgumentError(
                f"accelerate was launched with {name}, which training does not take: every process holds the frozen "
                "decoder whole; launch with --multi_gpu, and where a card is too small add --load_in_4bit or "
                "--gradient_checkpointing"
            )


def save_folder(model: ModelArguments, run_name: str | None) -> RunFolder:
    """`--{model}_ckpt_save_path`, or checkpoints/RUN_NAME."""
    given = model.chosen("ckpt_save_path")
    return RunFolder(Path(given) if given else CHECKPOINTS / (run_name or f"{model.model}-efuf"))


def read_inputs(model: ModelArguments, data: TrainDataArguments, gold_counts: bool) -> Inputs:
    """Resolve and read the files. Raises DataError, ArgumentError."""
    mini, world = is_mini_model(model) and data.image_dir_path is None, MiniWorld()
    pos_neg = default_path(data.pos_neg_data_path, mini, world.pos_neg, "--pos_neg_data_path")
    sentences = default_path(data.sentence_data_path, mini, world.sentences, "--sentence_data_path")
    folder = default_path(data.image_dir_path, mini, world.train_images, "--image_dir_path")
    if gold_counts and not data.gold_data_path:
        raise ArgumentError(
            "the loss has a part on instruction data (--gold_w above 0): give LLaVA's JSON with --gold_data_path, "
            "or leave it out with --gold_w 0"
        )
    gold: list[GoldSample] = []
    if gold_counts and data.gold_data_path:
        gold_folder = Path(data.gold_image_dir_path or folder)
        gold, passed = read_gold(data.gold_data_path, gold_folder, data.gold_size)
        announce(f"instruction data: {len(gold)} records, {passed} without an image passed over")
    source = MINI_LLAVA if is_mini_model(model) else model.chosen("path")
    return Inputs(pos_neg, sentences, folder, read_samples(pos_neg, sentences), tuple(gold), source)


def settings_of(groups: Sequence[Any], job: Job, inputs: Inputs) -> dict[str, Any]:
    """What a continued run must have in common with the one that began: all that changes the result."""
    model, data, _thresholds, loss, optimizer, _tracking, engine, _run = groups
    return {
        "trainable": optimizer.trainable,
        **asdict(loss),
        **asdict(optimizer),
        "train_lr": job.lr,
        "train_bs": job.images,
        **{f"threshold_{k}": v for k, v in asdict(job.thresholds).items()},
        "seed": job.seed,
        "valid_data_split": data.valid_data_split,
        "model_hash": model_hash(inputs.model) if inputs.model and Path(inputs.model).exists() else None,
        "samples_sha256": file_hash([inputs.pos_neg, inputs.sentences]),
        "gold_records": len(inputs.gold),
        "tokens_per_batch": engine.tokens_per_batch,
        "strict": engine.strict,
        "gradient_checkpointing": engine.gradient_checkpointing,
        "compile": engine.compile,
        "load_in_4bit": model.load_in_4bit,
        "image_cache": "folder" if engine.cache_image_features else _keeps_in_memory(engine),
    }


def _keeps_in_memory(engine: EngineArguments) -> bool:
    return engine.image_cache_mb != 0 and engine.num_workers == 0


def already_finished(groups: Sequence[Any], job: Job, inputs: Inputs) -> bool:
    """Whether this very run has ended. Raises ArgumentError if the folder's run was begun with other settings."""
    begin_or_continue(job.folder.path, settings_of(groups, job, inputs))
    pointer = job.folder.pointer()
    if pointer is None or not pointer.finished:
        return False
    announce(f"{display(job.folder.path)} is finished ({pointer.step} steps); add --restart to train anew")
    return True


def cost_line(trainer: SpanTrainer) -> str:
    """Steps, tokens and floating-point operations of the run, said before it starts."""
    steps, plan, model = trainer.steps, trainer.collator.plan, trainer.module.caption_model
    looked_at = [plan.cut(steps[number]) for number in range(min(SAMPLED_STEPS, len(steps)))]
    tokens = sum(plan.tokens(pack) for packs in looked_at for pack in packs) / len(looked_at)
    packs = sum(map(len, looked_at)) / len(looked_at)
    decoder = sum(p.numel() for p in model.lm.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f"{trainer.args.max_steps} steps, {len(steps)} batches of about {tokens:,.0f} tokens in {packs:.1f} packs of "
        f"up to {plan.budget or 'any number of'} tokens ({plan.image_tokens} an image); {trained:,} trained parameters;"
        f" about {4 * decoder * tokens * len(steps) / 1e12:,.1f} TFLOP"
    )


def train(groups: Sequence[Any], job: Job, inputs: Inputs) -> None:
    """Build the trainer and run it to its end, or only say what it would do. The main process prints the folder."""
    from common.models import load_from_args
    from finetune.build import build_trainer
    from finetune.prepare import prepare

    model_args, *_, run_args = groups
    model = load_from_args(model_args)
    data = prepare(job, inputs, model)
    announce("\n".join(data.lines()))
    if not run_args.dry_run:
        # Only now, when the data are known to be good, may an earlier run be given up.
        if run_args.restart:
            begin_or_continue(job.folder.path, settings_of(groups, job, inputs), restart=True)
        job.folder.begin(run_args.restart)
        job.folder.keep_split(job.seed, data.corpus.train_images, data.corpus.valid_images)
    trainer = build_trainer(job, model, data)
    announce(cost_line(trainer))
    if run_args.dry_run:
        return
    prepare_tracking(job.tracking.report_to, job.tracking.wandb_user, job.folder.path)
    trainer.run()
    if not trainer.args.should_save:
        return
    notes = manifest(
        groups,
        model=inputs.model,
        lost_images=data.images.lost,
        thresholds=asdict(job.thresholds),
        input_counts=data.counts,
        learning_rate=job.lr,
        images_a_step=job.images,
        image_tokens=data.plan.image_tokens,
        tokens_a_pack=data.plan.budget,
        steps=trainer.args.max_steps,
        waiting_for_data=trainer.clock.share(),
        steps_done_again_for_memory=trainer.packed.retries,
        log=trainer.state.log_history,
    )
    write_manifest(job.folder.path / "trained.safetensors", notes)
    print(display(job.folder.path))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, run. Raises UserErrors for everything that the user can mend."""
    groups = parse(GROUPS, "Fine-grained unlearning on mined spans", argv)
    model, data, threshold_args, loss, optimizer, tracking, engine, run_args = groups
    if (run_args.start_pos, run_args.end_pos) != (0, -1):
        raise ArgumentError(
            "--start_pos and --end_pos cut lists of images; training takes --max_steps or --train_epoch"
        )
    refuse_sharding()
    weights = loss_weights(loss.preset, loss.overrides())
    folder = save_folder(model, tracking.run_name)
    folder.check()
    inputs = read_inputs(model, data, GOLD in weights.active())
    mini = is_mini_model(model)
    from finetune.build import Job

    job = Job(
        loss=loss,
        optimizer=optimizer,
        tracking=tracking,
        engine=engine,
        weights=weights,
        thresholds=resolve(threshold_args, inputs.pos_neg, mini and data.pos_neg_data_path is None),
        defaults=MINI_STEPS if mini else PUBLISHED_STEPS,
        folder=folder,
        seed=run_args.seed,
        valid_split=data.valid_data_split,
    )
    if optimizer.paper_numerics:
        model.dtype = "bfloat16"
    if not run_args.dry_run and not run_args.restart and already_finished(groups, job, inputs):
        return
    train(groups, job, inputs)


if __name__ == "__main__":
    run(main)
