"""A causal language model of transformers that judges or extracts: a folder or a hub name, loaded whole or refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import CheckpointError, first_line, plain
from common.files.hub import has_tokenizer, local, no_tokenizer
from common.models.checkpoints.files import open_folder
from common.paths import display

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_config.json"  # of a folder whose weights lie elsewhere
OF_IMAGES = "ConditionalGeneration"  # in the name of a model that reads images beside text


def load_causal(
    path: str, flag: str, device: torch.device, dtype: torch.dtype | str = "auto", of_images: bool = False
) -> tuple[Any, Any]:
    """Model, in evaluation mode, and tokenizer.

    Args:
        flag: that the path came from, for messages.
        dtype: of the weights; "auto": that of the files.
        of_images: take an image-text model, too.

    Raises CheckpointError for what is no such model, or only a part of one, or brings code of its own, and for one that
    lacks tensors, which would be drawn at random.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    folder = local(path, flag, bare=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        names = AutoConfig.from_pretrained(folder, trust_remote_code=False).architectures or [""]
        kind = AutoModelForImageTextToText if of_images and OF_IMAGES in names[0] else AutoModelForCausalLM
        model, found = kind.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises whatever its readers, its checks or torch raise
        _check_parts(Path(folder), flag)
        reason = plain(first_line(error), 200).rstrip(" .:")
        raise CheckpointError(
            f"{flag} {path} is no causal language model that transformers loads: {reason}; copy it again, or give the "
            "folder or hub name of another"
        ) from None
    lost = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    if lost:
        raise CheckpointError(
            f"{flag} {path}: no file has {len(lost)} of its tensors in the shape that its config.json says, e.g. "
            f"{min(lost)}; give a whole causal language model"
        )
    return model.to(device).eval(), tokenizer


def _check_parts(folder: Path, flag: str) -> None:
    """Raise CheckpointError for a folder that is not there, or without settings, tokenizer, weights or a shard."""
    if not folder.is_dir():
        raise CheckpointError(f"no folder {display(folder)} (from {flag}); give that of a causal language model")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"no config.json in {display(folder)} (from {flag}); give a causal language model's folder")
    if not has_tokenizer(folder):
        raise no_tokenizer(folder, flag)
    if not (folder / ADAPTER).is_file():
        open_folder(folder, "language model", flag)
