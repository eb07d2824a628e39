"""Model adapters: one interface over LLaVA, ShareGPT4V, mPLUG-Owl, MiniGPT-4 and what transformers loads itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ArgumentError
from common.models.registry import MODEL_NAMES, adapter, checked_paths
from common.progress import announce

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from common.args import ModelArguments
    from common.models.base import CaptionModel

__all__ = ["MODEL_NAMES", "load_from_args", "load_model", "require_bits"]


def load_model(
    name: str,
    path: Path | str | None = None,
    ckpt: Path | str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    load_in_4bit: bool = False,
    decoder_dtype: str = "auto",
    fp8_from_block: int | None = None,
    **paths: Any,
) -> CaptionModel:
    """Load a model by family name.

    Args:
        name: one of `MODEL_NAMES`.
        path: its checkpoint folder (for minigpt the projection file); None for `llava`: the bundled mini-llava.
        ckpt: trained tensors laid over it: a folder of ours, or a published step_*.pth; None or "": none.
        device, dtype: of all weights (dtype None: float32).
        load_in_4bit: keep the decoder's linear layers in 4 bits; they compute in `dtype`, and stay frozen.
        decoder_dtype: "fp8" runs the frozen products of the decoder in 8 bits, on a GPU that has them and from block
            `fp8_from_block` on (None: all but products of early ones); "auto": in `dtype`.
        paths: further files and facts, named as the flags without the model's name: vit_path, llama_path, ...

    Raises ArgumentError for an unknown name or keyword, or where 4 or 8 bits do not work; CheckpointError for files
    that do not fit.
    """
    import torch

    family = adapter(name)
    if path is None and name == "llava":
        from common.paths import MINI_LLAVA

        path = MINI_LLAVA
    settings = checked_paths(name, paths)
    lessen = _fewer_bits(load_in_4bit, decoder_dtype, fp8_from_block, torch.device(device), dtype or torch.float32)
    first = torch.device("cpu" if lessen else device)  # the decoder at full size need not fit the device
    model = family.load(None if path is None else Path(path), first, dtype or torch.float32, **settings)
    if lessen:
        lessen(model)
    _choose_attention(model)
    if ckpt:
        model.load_trained(ckpt)
    elif ckpt is not None:
        announce("an empty checkpoint path was given: the base model is used as it is")
    return model


def _choose_attention(model: CaptionModel) -> None:
    """The fastest attention that this machine has for what transformers runs itself."""
    from common.models.parts.flash_attention import use_flash_attention
    from common.models.parts.stretches import attend_to_stretches

    use_flash_attention({"vision tower": model.vision, "decoder": model.lm}, model.device, model.compute_dtype)
    attend_to_stretches(model.lm, model.device, model.compute_dtype)


def _fewer_bits(
    load_in_4bit: bool, decoder_dtype: str, fp8_from_block: int | None, device: torch.device, dtype: torch.dtype
) -> Callable[[CaptionModel], None] | None:
    """What stores a decoder in 4 or 8 bits, if that is wanted.

    Raises ArgumentError for what does not go together or does not work on the device, before minutes of loading.
    """
    if decoder_dtype not in ("auto", "fp8"):
        raise ArgumentError(f"unknown decoder_dtype {decoder_dtype}; it is auto (as the rest) or fp8")
    eight = decoder_dtype == "fp8"
    if eight and load_in_4bit:
        raise ArgumentError("--load_in_4bit and --decoder_dtype fp8 are two ways to store the decoder; give one")
    if fp8_from_block is not None and not eight:
        raise ArgumentError(f"--fp8_from_block {fp8_from_block} says nothing without --decoder_dtype fp8")
    if load_in_4bit:
        from common.models.weights.four_bit import require_bitsandbytes

        require_bitsandbytes()
        return lambda model: model.quantise(device)
    if eight:
        from common.models.weights.eight_bit import require_float8

        require_float8(device, dtype)
        return lambda model: model.to_eight_bits(device, fp8_from_block)
    return None


def require_bits(args: ModelArguments) -> None:
    """Raise ArgumentError where 4 or 8 bits are asked for that do not go together or the device has not."""
    from common.models.resolve import resolve_device, resolve_dtype

    device = resolve_device(args.device)
    dtype = resolve_dtype(args.dtype, device)
    _fewer_bits(args.load_in_4bit, args.decoder_dtype, args.fp8_from_block, device, dtype)


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
        decoder_dtype=args.decoder_dtype,
        fp8_from_block=args.fp8_from_block,
        **settings_from_args(args),
    )
