"""Which parameters are trained, as float32 masters over a frozen rest of another dtype."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import ArgumentError, suggestion
from common.models.anatomy import outermost
from common.models.body import LoraSettings, ModelBody

PARTS = ("connector", "lm_head", "lora", "decoder", "all")
UPPER = re.compile(r"decoder:\d+")  # the upper blocks of the decoder
MOST_NAMED = 8  # modules in a line


def select(model: ModelBody, selection: str) -> dict[str, nn.Parameter]:
    """Name -> parameter for parts joined with +, of which `decoder:N` are its blocks from N on and what follows them.

    Raises ArgumentError for an unknown part.
    """
    parts = selection.split("+")
    for part in parts:
        if part not in PARTS and not UPPER.fullmatch(part):
            raise ArgumentError(
                f"unknown part {part!r} in the trainable selection {selection}{suggestion(part, PARTS)}"
            )
    for part in filter(UPPER.fullmatch, parts):
        _check_block(model, part)
    if "lora" in parts:
        add_lora(model)
    chosen = {
        name: parameter
        for name, parameter in model.named_parameters()
        if any(_belongs(model, name, parameter, part) for part in parts)
    }
    if not chosen:
        raise ArgumentError(f"the selection {selection} holds no parameter of {model.name}{model.parts_hint()}")
    if not all(parameter.is_floating_point() for parameter in chosen.values()):
        raise ArgumentError(
            f"--trainable {selection}: weights of 4 or 8 bits cannot be trained; take connector, lora or both"
        )
    return chosen


def parts_line(model: ModelBody, trained: Mapping[str, nn.Parameter]) -> str:
    """The modules that chosen parameters make up, by name."""
    whole = {id(parameter) for name, parameter in trained.items() if ".lora_" not in name}
    parts = [path.removeprefix("lm.") for path in outermost(model, whole)]
    adapted = {name.partition(".lora_")[0] for name in trained if ".lora_" in name}
    more = [f"{len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    adapters = [f"adapters of {len(adapted)} layers"] if adapted else []
    return ", ".join([*parts[:MOST_NAMED], *more, *adapters])


def _belongs(model: ModelBody, name: str, parameter: nn.Parameter, part: str) -> bool:
    if part == "lora" or ".lora_" in name:
        return part == "lora" and ".lora_" in name
    if part == "lm_head":
        return parameter is model.lm.get_output_embeddings().weight
    if UPPER.fullmatch(part):
        return _is_behind(model, name, parameter, int(part.partition(":")[2]))
    starts = {"connector": model.connector_parts, "decoder": model.decoder_parts, "all": ("",)}
    return name.startswith(starts[part])


def _check_block(model: ModelBody, part: str) -> None:
    """Raise ArgumentError where the decoder has no block of that number."""
    number = re.compile(rf"{re.escape(model.decoder_layers)}(\d+)\.")
    blocks = {int(found[1]) for name, _ in model.named_parameters() if (found := number.match(name))}
    if int(part.partition(":")[2]) not in blocks:
        raise ArgumentError(f"--trainable {part}: the decoder of {model.name} has blocks 0 to {max(blocks, default=0)}")


def _is_behind(model: ModelBody, name: str, parameter: nn.Parameter, block: int) -> bool:
    """Whether a parameter of the decoder is needed only from a block on: no gradient then goes below that block."""
    if not name.startswith(model.decoder_parts) or parameter is model.lm.get_input_embeddings().weight:
        return False
    if not name.startswith(model.decoder_layers):
        return True
    return int(name.removeprefix(model.decoder_layers).partition(".")[0]) >= block


def add_lora(model: ModelBody, settings: LoraSettings | None = None) -> None:
    """Put float32 adapters (that start as identity) into the decoder, once.

    Raises ArgumentError for a target that names no linear layer, and if the model has adapters of other settings.
    """
    if any(".lora_" in name for name, _ in model.named_parameters()):
        if settings not in (None, model.lora):
            raise ArgumentError(f"the model has adapters already: {model.lora}; {settings} do not fit over them")
        return
    from peft import LoraConfig, inject_adapter_in_model

    settings = settings or usual_adapters(model)
    _check_targets(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        lora_dropout=settings.dropout,
    )
    host = model.lora_host()
    inject_adapter_in_model(config, host)
    host.train(host.training)  # new modules come in training mode, and would drop values in captions too
    model.lora = settings
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            parameter.requires_grad_(False)


def usual_adapters(model: ModelBody) -> LoraSettings:
    """The settings where nothing is asked for: of the usual layers those that the decoder has, else all linear ones."""
    known = _linear_names(model)
    usual = LoraSettings()
    return replace(usual, targets=tuple(name for name in usual.targets if name in known) or tuple(sorted(known)))


def _linear_names(model: ModelBody) -> set[str]:
    return {path.rpartition(".")[2] for path, layer in model.lora_host().named_modules() if _is_linear(layer)}


def _check_targets(model: ModelBody, settings: LoraSettings) -> None:
    known = _linear_names(model)
    for target in settings.targets:
        if target not in known:
            near = suggestion(target, sorted(known))
            raise ArgumentError(f"--lora_targets {target} names no linear layer of {model.name}'s decoder{near}")


def _is_linear(layer: nn.Module) -> bool:
    """Plain or quantised."""
    return isinstance(layer, nn.Linear)


def lay_masters(model: ModelBody, selection: str, master_dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """Freeze all but the selection, give that `master_dtype`, and cast activations where dtypes meet.

    The connector casts at its own border; any other module that holds a master casts its input and its output.
    """
    compute = model.compute_dtype
    chosen = select(model, selection)
    model.selection, model.frozen_dtype = selection, compute
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(master_dtype if name in chosen else compute)
    _renew_casts(model, compute, master_dtype)
    return chosen


def _renew_casts(model: ModelBody, compute: torch.dtype, master: torch.dtype) -> None:
    for hook in model.cast_hooks:
        hook.remove()
    model.cast_hooks.clear()
    if master == compute:
        return
    # A tied head is a second name of a trained parameter, so duplicates are looked at too.
    trained = [name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad]
    for path in dict.fromkeys(name.rpartition(".")[0] for name in trained):
        if path.split(".")[0] != "connector" and ".lora_" not in path:
            module = model.get_submodule(path)
            model.cast_hooks.append(module.register_forward_pre_hook(_caster_in(master), with_kwargs=True))
            model.cast_hooks.append(module.register_forward_hook(_caster_out(compute)))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _caster_in(dtype: torch.dtype) -> Callable[..., Any]:
    def cast(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return tuple(_cast(arg, dtype) for arg in args), {key: _cast(arg, dtype) for key, arg in kwargs.items()}

    return cast


def _caster_out(dtype: torch.dtype) -> Callable[..., Any]:
    def cast(_module: nn.Module, _args: tuple[Any, ...], out: Any) -> Any:
        return _cast(out, dtype)

    return cast
