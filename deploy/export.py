"""Merge a trained checkpoint into a full model folder that other tools load.

    python deploy/export.py --model llava --llava_path BASE --ckpt_load_path TRAINED --export_path OUT
    python deploy/export.py ... --adapter_only       # a run of --trainable lora, as a PEFT adapter alone
    python deploy/export.py ... --result_paths result_unlearned.json result_base.json --push_to_hub ORG/NAME

llava and share4v become a folder that transformers and vLLM load, with processor and the chat template of training; owl
and minigpt keep the layout they came in; auto is saved by transformers itself. Low-rank adapters are added to the
weights, and lie beside them in OUT/adapter for `PeftModel.from_pretrained`. OUT/README.md is a model card, with the
scores of the result files. Nothing is uploaded without `--push_to_hub`. What was tried with other tools:
`deploy/README.md`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.args import ModelArguments, flag, parse
from common.cards.base import CARD_FILE, base_of
from common.cards.card import is_ours, text_of, write_card
from common.cli import run
from common.errors import ArgumentError, CheckpointError
from common.outputs.folders import FolderTarget
from common.paths import display
from common.progress import announce, say

if TYPE_CHECKING:
    from common.models.base import CaptionModel
    from deploy.exports.peft_adapter import Adapter

ADAPTER = "adapter"  # folder of the low-rank adapters inside a merged export


@dataclass
class ExportArguments:
    """Where the model goes, and as what."""

    export_path: str | None = flag(None, "folder to write; must not exist")
    adapter_only: bool = flag(False, "write the low-rank adapters alone, as PEFT loads them, without merged weights")
    result_paths: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "result files of the checkpoint and of its base, for the model card"
    )
    push_to_hub: str | None = flag(None, "upload it as ORG/NAME to the Hugging Face hub, over an earlier one of ours")
    hub_private_repo: bool = flag(False, "make the repository of --push_to_hub private, if it is not there yet")
    restart: bool = flag(False, "replace an earlier export")
    dry_run: bool = flag(False, "load and check everything, say what would be written, and stop")


ARGUMENTS = (ModelArguments, ExportArguments)


def export(model_args: ModelArguments, args: ExportArguments) -> Path:
    """Load, merge, write and, if asked to, upload; the folder appears whole or not at all.

    Raises ArgumentError for a missing or occupied target, CheckpointError for files that do not fit, DataError for
    results of another checkpoint, UploadError for a hub that does not take it.
    """
    _check_whole(model_args)
    target = _target(args)
    target.check((model_args, args))
    with nullcontext() if args.dry_run else target.taken():
        return _export(model_args, args, target)


def _export(model_args: ModelArguments, args: ExportArguments, target: FolderTarget) -> Path:
    from deploy.exports.upload import destination, upload

    there = destination(args.push_to_hub, args.hub_private_repo) if args.push_to_hub else None
    from common.models import load_from_args  # takes seconds, which a no of the hub need not wait for
    from deploy.exports.export_card import export_subject

    if model_args.dtype == "auto":
        model_args = replace(model_args, dtype=_stored_dtype(model_args))
    model = load_from_args(model_args)
    name = there.repo if there else target.path.resolve().name
    subject = export_subject(model, model_args, args.adapter_only, args.result_paths, name)
    write = _writer(model, model_args, args, target.path)
    if args.dry_run:
        return target.path
    with target.filled() as folder:
        write(folder)
        write_card(folder, subject)
    if there is not None:
        say(upload(target.path, there))
    return target.path


def _writer(
    model: CaptionModel, model_args: ModelArguments, args: ExportArguments, target: Path
) -> Callable[[Path], None]:
    """What fills the folder, card aside; says how much that is. Adapters are merged unless they are all of it."""
    from deploy.exports.layouts import write_model
    from deploy.exports.peft_adapter import merge_adapters

    adapter = _adapter(model, model_args, args.adapter_only)
    if adapter is not None and args.adapter_only:
        announce(f"{len(adapter.tensors)} tensors of an adapter to write to {display(target)}")
        return adapter.write
    merged = merge_adapters(model)
    values = sum(parameter.numel() for parameter in model.parameters())
    size = sum(parameter.nbytes for parameter in model.parameters()) / 2**30
    announce(
        f"{model.name}: {values:,} values in {model.compute_dtype}, {merged} adapters merged, "
        f"{size:.2f} GiB to write to {display(target)}"
    )

    def write(folder: Path) -> None:
        write_model(model, folder)
        if adapter is not None:
            adapter.write(folder / ADAPTER)

    return write


def _adapter(model: CaptionModel, args: ModelArguments, required: bool) -> Adapter | None:
    """The checkpoint's low-rank adapters; None if it has none, or they fit no model of transformers, which is said.

    Raises CheckpointError instead, if they are required.
    """
    from deploy.exports.peft_adapter import adapter_of

    if model.lora is None and not required:
        return None
    try:
        return adapter_of(model, _trained_names(args.chosen("ckpt_load_path")), _base(model, args))
    except CheckpointError as error:
        if required:
            raise
        announce(f"merged only: {error}")
        return None


def _trained_names(checkpoint: str | None) -> list[str]:
    """Names of what training changed, from the card in the checkpoint's folder."""
    from common.models.weights.trained import CARD, read_card

    place = Path(checkpoint or "")
    card = (place if place.is_dir() else place.parent) / CARD
    return list(read_card(card).tensors) if checkpoint and card.is_file() else []


def _base(model: CaptionModel, args: ModelArguments) -> str | None:
    """What transformers loads, over which the adapter belongs: a hub id, or the folder on this machine."""
    from common.models.families.llava import Llava
    from common.models.families.minigpt import MiniGpt
    from common.models.text.tokenizers import SentencePieceTokenizer

    if isinstance(model, Llava) and isinstance(model.tokenizer, SentencePieceTokenizer):
        announce(
            "the adapter fits the base as transformers has it: export the base once, without --ckpt_load_path, and "
            "load the adapter over that folder"
        )
        return None
    named = base_of(args)
    if named is not None and named.on_hub:
        return named.name
    source = model.decoder_source if isinstance(model, MiniGpt) else model.source
    return None if source is None else str(source.resolve())


def _check_whole(args: ModelArguments) -> None:
    """Raise ArgumentError where the weights would be loaded as codes of fewer bits, which are not what is exported."""
    if args.fewer_bits:
        raise ArgumentError(f"an export holds whole weights, and {args.fewer_bits} loads codes of them; leave it out")


def _target(args: ExportArguments) -> FolderTarget:
    """Where the export goes. Raises ArgumentError for no place."""
    if not args.export_path:
        raise ArgumentError("--export_path is needed: the folder to write")
    if args.hub_private_repo and not args.push_to_hub:
        raise ArgumentError("--hub_private_repo is of --push_to_hub, which was not given; add it, or leave both out")
    mark = f"no {CARD_FILE} that says so"
    return FolderTarget(
        Path(args.export_path), "export_path", args.restart, lambda folder: is_ours(text_of(folder / CARD_FILE)), mark
    )


def _stored_dtype(args: ModelArguments) -> str:
    """Dtype of the base's tensors, which the export keeps unless --dtype says otherwise; minigpt: of its decoder."""
    from common.models.checkpoints.files import open_folder

    folder = _weights_folder(args)
    if folder is None or not folder.is_dir():
        return "auto"
    found = (
        str(tensor.dtype).removeprefix("torch.")
        for _, tensor in open_folder(folder, args.model, f"--{args.model}_path")
        if tensor.ndim > 1
    )
    return next((name for name in found if name in ("float32", "float16", "bfloat16")), "auto")


def _weights_folder(args: ModelArguments) -> Path | None:
    """The folder of the decoder's tensors, whichever way it was given."""
    from common.mini_world import model_path
    from common.models.families.minigpt_files import find_files
    from common.models.registry import settings_from_args

    path = model_path(args)
    if args.model != "minigpt":
        return None if path is None else Path(path)
    known = ("config", "vit_path", "llama_path", "qformer_path")
    settings = {key: value for key, value in settings_from_args(args).items() if key in known}
    return find_files(None if path is None else Path(path), **settings).llama


def main() -> None:
    """Parse the command line and export."""
    model_args, args = parse(ARGUMENTS, __doc__ or "", step="export")
    print(export(model_args, args))


if __name__ == "__main__":
    run(main)
