"""What a continued run must have in common with the one that began."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.manifest import file_hash, model_hash
from finetune.setup.arguments import EngineArguments, Flags
from finetune.setup.inputs import Inputs
from finetune.setup.job import Job


def settings_of(flags: Flags, job: Job, inputs: Inputs) -> dict[str, Any]:
    """What a continued run must have in common with the one that began: all that changes the result."""
    optimizer, engine = flags.optimizer, flags.engine
    return {
        "trainable": optimizer.trainable,
        **asdict(flags.loss),
        **asdict(optimizer),
        "train_lr": job.lr,
        "train_bs": job.images,
        **{f"threshold_{k}": v for k, v in asdict(job.thresholds).items()},
        "seed": job.seed,
        "valid_data_split": flags.data.valid_data_split,
        "model_hash": model_hash(inputs.model) if inputs.model and Path(inputs.model).exists() else None,
        "samples_sha256": file_hash(inputs.sets),
        "gold_records": len(inputs.gold),
        "tokens_per_batch": engine.tokens_per_batch,
        "strict": engine.strict,
        "gradient_checkpointing": engine.gradient_checkpointing,
        "compile": engine.compile,
        "load_in_4bit": flags.model.load_in_4bit,
        "ignore_exif_orientation": flags.model.ignore_exif_orientation,
        "image_cache": "folder" if engine.cache_image_features else _keeps_in_memory(engine),
    }


def _keeps_in_memory(engine: EngineArguments) -> bool:
    return engine.image_cache_mb != 0 and engine.num_workers == 0
