"""Which layers of a decoder may be stored in fewer bits."""

from __future__ import annotations

from torch import nn

from common.models.body import ModelBody


class FewerBits(nn.Linear):
    """A frozen layer that computes in fewer bits than its weights were read in, forward or back."""


def decoder_linears(model: ModelBody) -> dict[str, nn.Linear]:
    """The plain linear layers of the decoder's blocks by name: neither head nor embeddings, nor what is quantised."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name.startswith(model.decoder_layers)
    }


def block_of(model: ModelBody, name: str) -> int:
    """Number of the block that a layer is in."""
    return int(name.removeprefix(model.decoder_layers).partition(".")[0])


def block_count(model: ModelBody) -> int:
    """Blocks that hold linear layers, of whatever kind."""
    names = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return 1 + max((block_of(model, name) for name in names if name.startswith(model.decoder_layers)), default=-1)
