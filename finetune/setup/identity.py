"""What a continued run must have in common with the one that began."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from common.files.contents import file_hash
from common.identity import identity, images_identity, inputs_identity, model_identity
from finetune.setup.arguments import EngineArguments, Flags
from finetune.setup.inputs import Inputs
from finetune.setup.job import Job


def settings_of(flags: Flags, job: Job, inputs: Inputs) -> dict[str, Any]:
    """What a continued run must have in common with the one that began: all that changes the result."""
    from common.models.resolve import resolve_device, resolve_dtype

    optimizer, engine = flags.optimizer, flags.engine
    options = {
        "trainable": optimizer.trainable,
        **asdict(flags.loss),
        **asdict(optimizer),
        "train_lr": job.lr,
        "train_bs": job.images,
        **{f"threshold_{k}": v for k, v in asdict(job.thresholds).items()},
        "seed": job.seed,
        "valid_data_split": flags.data.valid_data_split,
        "samples_sha256": file_hash(inputs.sets),
        "gold_records": len(inputs.gold),
        "tokens_per_batch": engine.tokens_per_batch,
        "strict": engine.strict,
        "gradient_checkpointing": engine.gradient_checkpointing,
        "compile": engine.compile,
        **job.probe.settings(),
        **(job.instruments.settings() if job.instruments else {}),
        "image_cache": "folder" if engine.cache_image_features else _keeps_in_memory(engine),
    }
    dtype = resolve_dtype(flags.model.dtype, resolve_device(flags.model.device))
    images = images_identity(inputs.images, inputs.samples.images())
    gold = images_identity(inputs.gold_images, (sample.image for sample in inputs.gold), "gold_images")
    files = inputs_identity(gold=flags.data.gold_data_path if inputs.gold else None)
    return identity(options, model_identity(flags.model, str(dtype)), images, gold, files)


def _keeps_in_memory(engine: EngineArguments) -> bool:
    return engine.image_cache_mb != 0 and engine.num_workers == 0
