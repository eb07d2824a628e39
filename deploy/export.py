"""Merge a trained checkpoint into a full model folder that other tools load.

    python deploy/export.py --model llava --llava_path BASE --ckpt_load_path TRAINED --export_path OUT

llava and share4v become a folder that plain transformers loads; owl and minigpt keep the layout they came in; auto is
saved by transformers itself. Low-rank adapters are added to the weights.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from common.args import ModelArguments, flag, parse
from common.cli import run
from common.errors import ArgumentError
from common.paths import display
from common.progress import announce


@dataclass
class ExportArguments:
    """Where the merged model goes."""

    export_path: str | None = flag(None, "folder to write; must not exist")
    restart: bool = flag(False, "replace an existing folder")
    dry_run: bool = flag(False, "load and check everything, say what would be written, and stop")


def export(model_args: ModelArguments, args: ExportArguments) -> Path:
    """Load, merge and write; the folder appears whole or not at all.

    Raises ArgumentError for a missing or occupied target, CheckpointError for files that do not fit.
    """
    from common.models import load_from_args
    from deploy.layouts import merge_adapters, write_model

    target = _target(args)
    if model_args.dtype == "auto":
        model_args = replace(model_args, dtype=_stored_dtype(model_args))
    model = load_from_args(model_args)
    merged = merge_adapters(model)
    values = sum(parameter.numel() for parameter in model.parameters())
    size = sum(parameter.nbytes for parameter in model.parameters()) / 2**30
    announce(
        f"{model.name}: {values:,} values in {model.compute_dtype}, {merged} adapters merged, "
        f"{size:.2f} GiB to write to {display(target)}"
    )
    if args.dry_run:
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        write_model(model, temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _target(args: ExportArguments) -> Path:
    if not args.export_path:
        raise ArgumentError("--export_path is needed: the folder to write")
    target = Path(args.export_path)
    if target.exists() and not args.restart:
        raise ArgumentError(f"{display(target)} (from --export_path) exists; give another or --restart to replace it")
    return target


def _stored_dtype(args: ModelArguments) -> str:
    """Dtype of the base's tensors, which the export keeps unless --dtype says otherwise; minigpt: of its decoder."""
    from common.mini_world import model_path
    from common.models.checkpoints.files import open_folder

    folder = Path((args.minigpt_llama_path if args.model == "minigpt" else model_path(args)) or "")
    if not folder.is_dir():
        return "float16" if args.model == "minigpt" else "auto"
    files = open_folder(folder, args.model, f"--{args.model}_path")
    found = (str(tensor.dtype).removeprefix("torch.") for _, tensor in files if tensor.ndim > 1)
    return next((name for name in found if name in ("float32", "float16", "bfloat16")), "auto")


ARGUMENTS = (ModelArguments, ExportArguments)


def main() -> None:
    """Parse the command line and export."""
    model_args, args = parse(ARGUMENTS, __doc__ or "", step="export")
    print(export(model_args, args))


if __name__ == "__main__":
    run(main)
