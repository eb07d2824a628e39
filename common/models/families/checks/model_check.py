"""What a model of transformers that was just loaded has to be: whole, and one that continues a text token by token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import CheckpointError
from common.models.checkpoints.tensor_checks import require_finite, require_floats
from common.models.families.auto_files import WANTED
from common.models.packed.foreign.handing import with_tail


@torch.no_grad()
def check_logits(lm: Any, inputs: Mapping[str, Tensor], tokens: int, where: str) -> None:
    """Raise CheckpointError for a model that does not give logits for each token of a text, behind those of an image.

    Args:
        tokens: for how many positions it has given them.
    """
    if tokens == inputs["input_ids"].shape[1]:
        return
    longer = lm(**with_tail(inputs, inputs["input_ids"][:, -1:]), use_cache=False).logits.shape[1]
    if longer != tokens + 1:
        raise CheckpointError(
            f"{where} holds a {type(lm).__name__}, which does not continue a text token by token (logits for {tokens} "
            f"positions of {inputs['input_ids'].shape[1]} tokens); {WANTED}"
        )


def check_generates(lm: Any, where: str) -> None:
    """Raise CheckpointError for a model that writes no text."""
    if not lm.can_generate():
        raise CheckpointError(f"{where} holds a {type(lm).__name__}, which writes no text; {WANTED}")


def check_weights(lm: nn.Module, missing: Iterable[str], where: str) -> None:
    """Raise CheckpointError for weights that transformers drew at random, that are no floats, or not finite."""
    lacking = sorted(missing)
    if lacking:
        most = len(lacking) > len(list(lm.parameters())) / 2
        kind = getattr(getattr(lm, "config", None), "model_type", None)
        why = f"; config.json is of the type {kind}: is it that of these weights?" if most and kind else ""
        raise CheckpointError(
            f"{len(lacking)} tensors are missing from {where} or of another shape, e.g. the one for {lacking[0]}{why}"
        )
    quantised = getattr(getattr(lm, "config", None), "quantization_config", None) is not None
    for name, parameter in lm.named_parameters():
        if parameter.is_floating_point():
            require_finite(parameter.data, parameter.data, name, where)
        elif not quantised:
            require_floats(parameter.data, name, where)
