"""Whether packs of a model give what its plain rows give: tried out, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from common.errors import first_line
from common.models.packed.decoder import PackedSettings
from common.models.packed.foreign.engine import Fit, ForeignDecoder, Hand
from common.models.packed.foreign.handing import Unpackable, handed_over, is_by_query, with_tail
from common.models.packed.foreign.heads import head_of
from common.models.packed.foreign.layers import attending, dense_of, layers_of
from common.models.packed.foreign.layout import GivenRow, lay_out_rows
from common.models.packed.foreign.masks import masks_of
from common.models.packed.head_losses import token_losses

LLAMAS = ("LlamaModel", "MistralModel", "Qwen2Model")  # of the same layers
CLOSE, CLOSE_16 = 2e-4, 0.05  # share by which a trial may be off, in 32 and in 16 bits


@torch.no_grad()
def try_out(lm: Any, trunk: Any, row: GivenRow, other: GivenRow | None = None) -> Fit:
    """Whether packs of a model give what its plain rows give, and what is needed to run them.

    Args:
        row: an image with at least two captions of unequal length.
        other: another image, of another shape; None: images are looked at one by one.

    Raises Unpackable with the reason if they do not.
    """
    try:
        fit = _shown(lm, trunk, row)
        decoder = ForeignDecoder(lm, trunk, fit, PackedSettings(attention="dense"))
        packed = decoder.losses(lay_out_rows([row, row], fit.shares).to(row.inputs["input_ids"].device))
        plain = [plain_losses(lm, row, branch) for branch in (*row.branches, *row.branches)]
    except (torch.OutOfMemoryError, Unpackable):
        raise
    except Exception as error:  # whatever a model raises that is run in a way it was not written for
        raise Unpackable(f"a trial ended with {type(error).__name__}: {first_line(error)}") from None
    share = CLOSE if lm.get_input_embeddings().weight.dtype.itemsize > 2 else CLOSE_16
    pairs = zip(packed, plain, strict=True)
    worst = max(float(((found[: len(own)] - own).abs() / (1 + own.abs())).max()) for found, own in pairs)
    if not worst <= share:
        raise Unpackable(f"a trial pack gave losses that differ by {worst:.1%} from those of plain rows")
    if other is not None and fit.causal:
        decoder = ForeignDecoder(lm, trunk, fit)
        fit = replace(fit, together=looks_together(decoder, decoder.hand, (row, other)))
    return fit


@torch.no_grad()
def looks_together(decoder: ForeignDecoder, hand: Hand, rows: Sequence[GivenRow]) -> bool:
    """Whether a decoder is called with the same for images that are looked at together as for one after the other."""
    layout = lay_out_rows(rows, decoder.fit.shares).to(rows[0].inputs["input_ids"].device)
    try:
        _, expected = decoder.given(layout, hand, together=False)
        by_rows, found = decoder.given(layout, hand, together=True)
        found = {key: found.get(key) for key in expected}  # masks aside
        pairs = list(zip(*(tree_flatten(handed)[0] for handed in (found, expected)), strict=True))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a model that takes no row with several images; it is not asked to
        return False
    return not by_rows and all(_alike(one, other) for one, other in pairs)


def _alike(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or not one.is_floating_point():
        return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
    share = CLOSE if one.dtype.itemsize > 2 else CLOSE_16
    return one.shape == other.shape and bool((one - other).abs().max() <= share * other.abs().max().clamp_min(1e-6))


def plain_losses(lm: Any, row: GivenRow, target: Sequence[int]) -> Tensor:
    """Losses of one caption by the model's plain forward: [tokens of the target]."""
    device = row.inputs["input_ids"].device
    ids = torch.tensor([list(target)], device=device)
    logits = lm(**with_tail(row.inputs, ids), use_cache=False).logits[0]
    return token_losses(logits[-len(target) - 1 : -1], ids[0])


def _shown(lm: Any, trunk: Any, row: GivenRow) -> Fit:
    """What one plain forward shows."""
    tail = torch.tensor([row.branches[0]], device=row.inputs["input_ids"].device)
    inputs = with_tail(row.inputs, tail)
    layers = layers_of(trunk)
    handed = handed_over(lm, trunk, inputs)
    if "inputs_embeds" not in handed:
        raise Unpackable("its decoder is not called with embeddings")
    outputs: list[Any] = []
    with (
        layers[0].register_forward_hook(lambda *given: outputs.append(given[-1])),
        trunk.register_forward_hook(lambda *given: outputs.append(given[-1].last_hidden_state)),
    ):
        logits = lm(**inputs, use_cache=False).logits[0]
    if not isinstance(outputs[0], Tensor):
        raise Unpackable("its layers hand each other more than hidden states")
    with attending(trunk, dense_of(trunk)):
        found = masks_of(trunk, layers, handed)
    before = row.image_at[0]
    shares = not any(mask is not None and bool(mask[:before, before:].any()) for mask in found.masks)
    shares &= not any(is_by_query(value, inputs["input_ids"].shape[1]) for value in handed.values())
    causal = found.are_causal and not slides(trunk.config)
    llama = causal and type(trunk).__name__ in LLAMAS and handed.keys() <= {"inputs_embeds", "attention_mask"}
    return Fit(head_of(lm, outputs[-1][0], logits), causal, shares, llama)


def slides(config: Any) -> bool:
    """Whether some layers see only what is near, so that masks of longer rows differ from a trial's."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    return bool(window) and bool(getattr(config, "use_sliding_window", True))
