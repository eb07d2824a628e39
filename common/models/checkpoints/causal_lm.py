"""A causal language model of transformers that judges or extracts: a folder or a hub name, loaded whole or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import CheckpointError, first_line, plain
from common.files.hub import local

if TYPE_CHECKING:
    import torch

OF_IMAGES = "ConditionalGeneration"  # in the name of a model that reads images beside text


def load_causal(
    path: str, flag: str, device: torch.device, dtype: torch.dtype | str = "auto", of_images: bool = False
) -> tuple[Any, Any]:
    """Model, in evaluation mode, and tokenizer.

    Args:
        flag: that the path came from, for messages.
        dtype: of the weights; "auto": that of the files.
        of_images: take an image-text model, too.

    Raises CheckpointError for what is no such model, and for one that lacks tensors, which would be drawn at random.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    folder = local(path, flag, bare=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        names = AutoConfig.from_pretrained(folder).architectures or [""]
        kind = AutoModelForImageTextToText if of_images and OF_IMAGES in names[0] else AutoModelForCausalLM
        model, found = kind.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises whatever its readers, its checks or torch raise
        reason = plain(first_line(error), 200)
        raise CheckpointError(
            f"{flag} {path} is no causal language model that transformers loads: {reason}"
        ) from None
    lost = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    if lost:
        raise CheckpointError(
            f"{flag} {path}: no file has {len(lost)} of its tensors in the shape that its config.json says, e.g. "
            f"{min(lost)}; give a whole causal language model"
        )
    return model.to(device).eval(), tokenizer
