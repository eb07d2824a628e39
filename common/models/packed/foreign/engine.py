"""Runs packs through a foreign decoder.

Only what a plain forward shows is used: what the decoder is called with, which masks its layers are given, how logits
follow from hidden states. So a family that transformers gains needs nothing here; one that cannot be packed is found
by a trial (`trial.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from common.models.packed.attention import best_way
from common.models.packed.decoder import PackedDecoder, PackedSettings
from common.models.packed.foreign.handing import (
    Handed,
    Joining,
    Unpackable,
    as_one,
    handed_over,
    joined,
    padded,
    with_tail,
)
from common.models.packed.foreign.heads import Head
from common.models.packed.foreign.layers import FLEX, attending, dense_of, forwards, layers_of
from common.models.packed.foreign.layout import ForeignLayout
from common.models.packed.foreign.masks import RowMasks, blocks_of, causal_mask, layers_as, masks_of, whole_mask
from common.models.weights.four_bit import is_quantised

# numbers of the images in the pack, inputs of a row that shows them -> what the decoder is called with
Hand = Callable[[Sequence[int], Mapping[str, Tensor]], Handed]
KEPT_MASKS = 32  # of rows, where they are not all causal
KEPT_PLACES, LONGER = 4096, 512  # kinds of rows whose positions are kept, each with so many of a caption at least


@dataclass(frozen=True)
class Fit:
    """What a trial has shown of a model.

    Attributes:
        head: what makes logits.
        causal: whether each token of a plain row sees itself and all before it, whatever the image.
        shares: whether the tokens before an image never see it, so that images may share them.
        llama: whether the decoder is of the shape of a Llama and is called with embeddings alone.
        together: whether several images may be looked at as those of one row.
    """

    head: Head
    causal: bool
    shares: bool
    llama: bool = False
    together: bool = False


@dataclass
class ForeignDecoder:
    """A decoder that transformers runs itself, over packs.

    Args:
        lm: the whole model; trunk: its decoder, without head.
        fit: from :func:`common.models.packed.foreign.trial.try_out`.
        settings: as for a Llama's packs.
        alone: held while the model is run in another way than its own; packs may be run by several threads.
    """

    lm: Any
    trunk: Any
    fit: Fit
    settings: PackedSettings = field(default_factory=PackedSettings)
    kept: dict[bytes, RowMasks] = field(default_factory=dict, repr=False)
    placed: dict[Hashable, Tensor | None] = field(default_factory=dict, repr=False)
    alone: AbstractContextManager[Any] = field(default_factory=RLock, repr=False)

    @cached_property
    def layers(self) -> list[nn.Module]:
        """Of the decoder."""
        return layers_of(self.trunk)

    @cached_property
    def compiles(self) -> bool:
        """Whether its layers are compiled."""
        return self.settings.compile and not is_quantised(self.trunk)

    def losses(self, layout: ForeignLayout, hand: Hand | None = None, together: bool | None = None) -> Tensor:
        """Losses of a pack on the model's device: float32 [captions, longest target], 0 past each end.

        Args:
            hand: None: the model's own forward.
            together: whether that takes several images; None: as the trial has shown.
        """
        tree = layout.tree
        hidden = self.hidden_states(layout, hand or self.hand, self.fit.together if together is None else together)
        return tree.table(self.fit.head.losses(self.lm, hidden[tree.asked], tree.targets))

    def hand(self, _images: Sequence[int], inputs: Mapping[str, Tensor]) -> Handed:
        """What the model's own forward hands over."""
        return handed_over(self.lm, self.trunk, inputs)

    def hidden_states(self, layout: ForeignLayout, hand: Hand, together: bool) -> Tensor:
        """[q, d] of the queries, normalised."""
        with self.alone:
            rows, whole = self.given(layout, hand, together)
            if not self.fit.llama:
                return self._by_its_layers(layout, rows, whole)[layout.tree.queries]
        return self.as_llama.hidden_states(whole["inputs_embeds"][0], layout.tree)

    def given(self, layout: ForeignLayout, hand: Hand, together: bool) -> tuple[list[Handed], Handed]:
        """What the decoder is called with: for each row, of which there may be none, and for the whole pack."""
        rows = [with_tail(inputs, tail) for inputs, tail in zip(layout.inputs, layout.tails, strict=True)]
        if together and self.fit.causal and None not in layout.kinds:
            try:
                handed = hand(layout.image_of, as_one(rows, layout.skipped))
                return [], padded(handed, layout.tree.length) | {"position_ids": self._positions(layout, hand)}
            except Unpackable:  # images of this pack do not stand side by side
                pass
        handed_rows = [hand([image], row) for image, row in zip(layout.image_of, rows, strict=True)]
        return handed_rows, joined(handed_rows, Joining(layout.skipped, layout.tree.positions))

    def _positions(self, layout: ForeignLayout, hand: Hand) -> Tensor:
        """Position ids of a pack, from those of rows of its kinds."""
        places = layout.tree.positions
        parts, start = [], 0
        for number, (inputs, tail) in enumerate(zip(layout.inputs, layout.tails, strict=True)):
            end = start + inputs["input_ids"].shape[1] + tail.shape[1] - layout.skipped[number]
            known = self._positions_of(layout, number, hand)
            parts.append(places[None, start:end] if known is None else known.index_select(-1, places[start:end]))
            start = end
        return pad(torch.cat(parts, dim=-1), (0, len(places) - start))

    @torch.no_grad()
    def _positions_of(self, layout: ForeignLayout, number: int, hand: Hand) -> Tensor | None:
        """[..., 1, n] of one row with a long caption; None: the model's forward leaves them to its decoder."""
        kind, needed = layout.kinds[number], layout.longest[number]
        known = self.placed.get(kind)
        if kind not in self.placed or (known is not None and known.shape[-1] < needed):
            inputs = layout.inputs[number]
            ids = inputs["input_ids"]
            tail = ids[:, -1:].expand(1, max(LONGER, needed - ids.shape[1]))
            if len(self.placed) >= KEPT_PLACES:
                self.placed.pop(next(iter(self.placed)))
            known = hand([layout.image_of[number]], with_tail(inputs, tail)).get("position_ids")
            self.placed[kind] = known
        return known

    @cached_property
    def as_llama(self) -> PackedDecoder:
        """The same decoder, run as a Llama's packs are: less is computed in its last layer."""
        shown: Any = SimpleNamespace(model=self.trunk, parameters=self.trunk.parameters)
        return PackedDecoder(shown, settings=self.settings)

    def _by_its_layers(self, layout: ForeignLayout, rows: Sequence[Handed], whole: Handed) -> Tensor:
        """[t, d] of all tokens by the decoder's own forward."""
        masks = self._masks(layout, rows, whole["inputs_embeds"])
        shown = masks[0] if isinstance(masks[0], Tensor) else torch.zeros(1, 1, 1, 1, device=layout.tree.until.device)
        given = (rows[0] if rows else whole).get("attention_mask")
        whole["attention_mask"] = dict.fromkeys(given, shown) if isinstance(given, dict) else shown
        way = FLEX if not isinstance(masks[0], Tensor) else dense_of(self.trunk)
        with (
            attending(self.trunk, way),
            layers_as(self.layers, forwards(self.layers, masks, way, self.compiles, self.settings.recompute)),
        ):
            out: Tensor = self.trunk(**whole, use_cache=False).last_hidden_state[0]
        return out

    def _masks(self, layout: ForeignLayout, rows: Sequence[Handed], embeds: Tensor) -> list[Any]:
        """Of each layer."""
        until = layout.tree.until
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
        """Whether by FlexAttention, which takes what its own attention takes if that is PyTorch's by the interface.

        What transformers says of its own use of FlexAttention says nothing here: Qwen2-VL's relatives deny it.
        """
        if not getattr(self.trunk, "_supports_attention_backend", False) or dense_of(self.trunk) != "sdpa":
            return "dense"
        bound = getattr(self.trunk.config, "attn_logit_softcapping", None)
        head = smallest_head(self.trunk)
        return "dense" if bound else best_way(self.settings.attention, embeds.device, embeds.dtype, head)

    def _as_taken(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """A dense mask as the attention takes it."""
        if dense_of(self.trunk) != "eager":
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
        with attending(self.trunk, dense_of(self.trunk)):
            found = masks_of(self.trunk, self.layers, handed)
        return RowMasks(found.kinds, tuple(None if m is None else m[:length, :length].clone() for m in found.masks))


def smallest_head(trunk: Any) -> int:
    """Size of its layers' heads, which may differ (Gemma 4's), so that its config may not say one for all."""
    found = [getattr(module, "head_dim", None) for module in trunk.modules()]
    sizes = [size for size in found if isinstance(size, int)]
    return min(sizes) if sizes else trunk.config.hidden_size // trunk.config.num_attention_heads


def image_ids(config: Any) -> list[int]:
    """Ids that stand for images, as far as the configuration says."""
    said = (getattr(config, name, None) for name in ("image_token_id", "image_token_index"))
    return list(dict.fromkeys(i for i in said if isinstance(i, int)))
