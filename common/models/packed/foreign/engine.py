"""Runs packs through a foreign decoder, and finds out whether that gives what its plain rows give.

Only what a plain forward shows is used: what the decoder is called with, which masks its layers are given, how logits
follow from hidden states. So a family that transformers gains needs nothing here; one that cannot be packed is found
by a trial, whose packed losses must be those of its plain rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import first_line
from common.models.packed.attention import best_way
from common.models.packed.decoder import PackedDecoder, PackedSettings
from common.models.packed.foreign.handing import Handed, Joining, Unpackable, handed_over, joined, with_tail
from common.models.packed.foreign.heads import Head, head_of
from common.models.packed.foreign.layers import DENSE, FLEX, attending, forwards
from common.models.packed.foreign.layout import ForeignLayout, GivenRow, lay_out_rows
from common.models.packed.foreign.masks import RowMasks, blocks_of, causal_mask, layers_as, masks_of, whole_mask
from common.models.packed.head_losses import token_losses
from common.models.weights.four_bit import is_quantised

# number of the image in the pack, inputs of a row -> what the decoder is called with
Hand = Callable[[int, Mapping[str, Tensor]], Handed]
KEPT_MASKS = 32  # of rows, where they are not all causal
LLAMAS = ("LlamaModel", "MistralModel", "Qwen2Model")  # of the same layers
CLOSE, CLOSE_16 = 2e-4, 0.05  # share of a loss by which a trial may be off, in 32 and in 16 bits


@dataclass(frozen=True)
class Fit:
    """What a trial has shown of a model.

    Attributes:
        head: what makes logits.
        causal: whether each token of a plain row sees itself and all before it, whatever the image.
        shares: whether the tokens before an image never see it, so that images may share them.
        llama: whether the decoder is of the shape of a Llama and is called with embeddings alone.
    """

    head: Head
    causal: bool
    shares: bool
    llama: bool = False


@dataclass
class ForeignDecoder:
    """A decoder that transformers runs itself, over packs.

    Args:
        lm: the whole model; trunk: its decoder, without head.
        fit: from :func:`try_out`.
        settings: as for a Llama's packs.
        alone: held while the model is run in another way than its own; packs may be run by several threads.
    """

    lm: Any
    trunk: Any
    fit: Fit
    settings: PackedSettings = field(default_factory=PackedSettings)
    kept: dict[bytes, RowMasks] = field(default_factory=dict, repr=False)
    alone: AbstractContextManager[Any] = field(default_factory=RLock, repr=False)

    @cached_property
    def layers(self) -> list[nn.Module]:
        """Of the decoder."""
        return layers_of(self.trunk)

    @cached_property
    def compiles(self) -> bool:
        """Whether its layers are compiled."""
        return self.settings.compile and not is_quantised(self.trunk)

    def losses(self, layout: ForeignLayout, hand: Hand | None = None) -> Tensor:
        """Losses of a pack on the model's device: float32 [captions, longest target], 0 past each end."""
        tree = layout.tree
        hidden = self.hidden_states(layout, hand or self.hand)
        flat = self.fit.head.losses(self.lm, hidden[tree.asked], tree.targets)
        return flat.new_zeros(tree.rows * tree.longest).index_copy(0, tree.slot, flat).view(tree.rows, tree.longest)

    def hand(self, _image: int, inputs: Mapping[str, Tensor]) -> Handed:
        """What the model's own forward hands over."""
        return handed_over(self.lm, self.trunk, inputs)

    def hidden_states(self, layout: ForeignLayout, hand: Hand) -> Tensor:
        """[q, d] of the queries, normalised."""
        with self.alone:
            rows = [
                hand(image, with_tail(inputs, tail))
                for image, inputs, tail in zip(layout.image_of, layout.inputs, layout.tails, strict=True)
            ]
            whole = joined(rows, Joining(layout.skipped, layout.tree.positions))
            if not self.fit.llama:
                return self._by_its_layers(layout, rows, whole)[layout.tree.queries]
        return self.as_llama.hidden_states(whole["inputs_embeds"][0], layout.tree)

    @cached_property
    def as_llama(self) -> PackedDecoder:
        """The same decoder, run as a Llama's packs are: less is computed in its last layer."""
        shown: Any = SimpleNamespace(model=self.trunk, parameters=self.trunk.parameters)
        return PackedDecoder(shown, settings=self.settings)

    def _by_its_layers(self, layout: ForeignLayout, rows: Sequence[Handed], whole: Handed) -> Tensor:
        """[t, d] of all tokens by the decoder's own forward."""
        masks = self._masks(layout, rows)
        shown = masks[0] if isinstance(masks[0], Tensor) else torch.zeros(1, 1, 1, 1, device=layout.tree.until.device)
        given = rows[0].get("attention_mask")
        whole["attention_mask"] = dict.fromkeys(given, shown) if isinstance(given, dict) else shown
        way = FLEX if not isinstance(masks[0], Tensor) else self._dense_way()
        with (
            attending(self.trunk, way),
            layers_as(self.layers, forwards(self.layers, masks, way, self.compiles, self.settings.recompute)),
        ):
            out: Tensor = self.trunk(**whole, use_cache=False).last_hidden_state[0]
        return out

    def _dense_way(self) -> str:
        """The decoder's own attention, where that takes masks."""
        own: str = self.trunk.config._attn_implementation
        return own if own in DENSE else DENSE[0]

    def _masks(self, layout: ForeignLayout, rows: Sequence[Handed]) -> list[Any]:
        """Of each layer."""
        embeds, until = rows[0]["inputs_embeds"], layout.tree.until
        flex = self._way(embeds) == "flex"
        if self.fit.causal:
            mask = causal_mask(until, flex)
            return [mask if flex else self._as_taken(mask, embeds.dtype)] * len(self.layers)
        each = [self._row_masks(layout, number, row) for number, row in enumerate(rows)]
        if any(row.kinds != each[0].kinds for row in each):
            raise Unpackable("which of its layers attend alike differs between images")
        made = []
        for kind in range(len(each[0].masks)):
            if all(row.masks[kind] is None for row in each):
                mask = causal_mask(until, flex)
                made.append(mask if flex else self._as_taken(mask, embeds.dtype))
                continue
            sees = whole_mask([row.masks[kind] for row in each], layout.stretches, layout.tree.positions, until)
            made.append(blocks_of(sees) if flex else self._as_taken(sees[None, None], embeds.dtype))
        return [made[kind] for kind in each[0].kinds]

    def _way(self, embeds: Tensor) -> str:
        if not getattr(self.trunk, "_supports_flex_attn", False):
            return "dense"
        config = self.trunk.config
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        bound = getattr(config, "attn_logit_softcapping", None)
        return "dense" if bound else best_way(self.settings.attention, embeds.device, embeds.dtype, head)

    def _as_taken(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """A dense mask as the attention takes it."""
        if self._dense_way() != "eager":
            return mask
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    def _row_masks(self, layout: ForeignLayout, number: int, handed: Handed) -> RowMasks:
        """Of one row, learnt once for every pattern of image and text tokens."""
        length = layout.longest[number]
        inputs = layout.inputs[number]
        parts = [inputs["input_ids"] == i for i in image_ids(self.lm.config)] + [
            inputs[key] for key in ("token_type_ids", "mm_token_type_ids") if key in inputs
        ]
        key = length.to_bytes(8, "little") + b"".join(part.cpu().numpy().tobytes() for part in parts)
        if key not in self.kept:
            if len(self.kept) >= KEPT_MASKS:
                self.kept.pop(next(iter(self.kept)))
            self.kept[key] = self._learnt(handed, length)
        return self.kept[key]

    def _learnt(self, handed: Handed, length: int) -> RowMasks:
        with attending(self.trunk, self._dense_way()):
            found = masks_of(self.trunk, self.layers, handed)
        return RowMasks(found.kinds, tuple(None if m is None else m[:length, :length].clone() for m in found.masks))


def layers_of(trunk: Any) -> list[nn.Module]:
    """The layers of a decoder. Raises Unpackable if they are not to be found."""
    layers = getattr(trunk, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise Unpackable(f"its decoder, a {type(trunk).__name__}, has no list of layers")
    for kind in getattr(trunk.config, "layer_types", None) or ():
        if "attention" not in kind or "linear" in kind:
            raise Unpackable(f"some layers of its decoder ({kind}) carry what they saw from token to token, by no mask")
    return list(layers)


def image_ids(config: Any) -> list[int]:
    """Ids that stand for images, as far as the configuration says."""
    said = (getattr(config, name, None) for name in ("image_token_id", "image_token_index"))
    return list(dict.fromkeys(i for i in said if isinstance(i, int)))


@torch.no_grad()
def try_out(lm: Any, trunk: Any, row: GivenRow) -> Fit:
    """Whether packs of a model give what its plain rows give, and what is needed to run them.

    Args:
        row: an image with at least two captions of unequal length.

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
    return fit


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
    way = trunk.config._attn_implementation
    with attending(trunk, way if way in DENSE else DENSE[0]):
        found = masks_of(trunk, layers, handed)
    outputs: list[Tensor] = []
    with trunk.register_forward_hook(lambda _m, _a, out: outputs.append(out.last_hidden_state)):
        logits = lm(**inputs, use_cache=False).logits[0]
    before = row.image_at[0]
    shares = not any(mask is not None and bool(mask[:before, before:].any()) for mask in found.masks)
    causal = found.are_causal and not slides(trunk.config)
    llama = causal and type(trunk).__name__ in LLAMAS and handed.keys() <= {"inputs_embeds", "attention_mask"}
    return Fit(head_of(lm, outputs[0][0], logits), causal, shares, llama)


def slides(config: Any) -> bool:
    """Whether some layers see only what is near, so that masks of longer rows differ from a trial's."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    return bool(window) and bool(getattr(config, "use_sliding_window", True))
