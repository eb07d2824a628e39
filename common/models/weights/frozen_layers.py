"""Which layers of a decoder may be stored in fewer bits."""

from __future__ import annotations

from torch import nn

from common.models.body import ModelBody


def decoder_linears(model: ModelBody) -> dict[str, tuple[int, nn.Linear]]:
    """Name -> block and layer, of the plain linear layers of the decoder's blocks; neither head nor quantised ones."""
    inside = set(model.lora_host().modules())
    return {
        name: (blocks[0], module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module in inside
        for blocks in [[int(part) for part in name.split(".") if part.isdecimal()]]
        if blocks
    }
