"""Model adapters: one interface over LLaVA, ShareGPT4V, mPLUG-Owl, MiniGPT-4 and what transformers loads itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.models.registry import MODEL_NAMES, adapter, checked_paths
from common.progress import announce

if TYPE_CHECKING:
    import torch

    from common.args import ModelArguments
    from common.models.base import CaptionModel

__all__ = ["MODEL_NAMES", "load_from_args", "load_model"]


def load_model(
    name: str,
    path: Path | str | None = None,
    ckpt: Path | str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    load_in_4bit: bool = False,
    **paths: Any,
) -> CaptionModel:
    """Load a model by family name.

    Args:
        name: one of `MODEL_NAMES`.
        path: its checkpoint folder (for minigpt the projection file); None for `llava`: the bundled mini-llava.
        ckpt: trained tensors laid over it: a folder of ours, or a published step_*.pth; None or "": none.
        device, dtype: of all weights (dtype None: float32).
        load_in_4bit: keep the decoder's linear layers in 4 bits; they compute in `dtype`, and stay frozen.
        paths: further files and facts, named as the flags without the model's name: vit_path, llama_path, ...

    Raises ArgumentError for an unknown name or keyword, or where 4 bits do not work; CheckpointError for files that do
    not fit.
    """
    import torch

    from common.models.parts.flash_attention import use_flash_attention

    family = adapter(name)
    if path is None and name == "llava":
        from common.paths import MINI_LLAVA

        path = MINI_LLAVA
    settings = checked_paths(name, paths)
    first = torch.device("cpu" if load_in_4bit else device)  # the decoder at full size need not fit the device
    if load_in_4bit:
        from common.models.weights.four_bit import require_bitsandbytes

        require_bitsandbytes()  # before minutes of loading
    model = family.load(None if path is None else Path(path), first, dtype or torch.float32, **settings)
    if load_in_4bit:
        model.quantise(torch.device(device))
    use_flash_attention({"vision tower": model.vision, "decoder": model.lm}, model.device, model.compute_dtype)
    if ckpt:
        model.load_trained(ckpt)
    elif ckpt is not None:
        announce("an empty checkpoint path was given: the base model is used as it is")
    return model


def load_from_args(args: ModelArguments) -> CaptionModel:
    """Load the model that the command line describes.

    Device and dtype `auto` take a GPU and bfloat16 where there is one, the CPU and float32 elsewhere.
    Raises ArgumentError and CheckpointError as :func:`load_model`.
    """
    from common.mini_world import model_path
    from common.models.registry import settings_from_args
    from common.models.resolve import resolve_device, resolve_dtype

    adapter(args.model)
    device = resolve_device(args.device)
    return load_model(
        args.model,
        path=model_path(args),
        ckpt=args.chosen("ckpt_load_path"),
        device=device,
        dtype=resolve_dtype(args.dtype, device),
        load_in_4bit=args.load_in_4bit,
        **settings_from_args(args),
    )
