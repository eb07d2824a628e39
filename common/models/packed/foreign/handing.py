"""What a whole model hands to its decoder: embeddings with images inside, positions, and whatever else it needs.

The model's own forward runs up to the call of its decoder, so nothing about a family is written down here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils._pytree import tree_map

Handed = dict[str, Any]  # keyword -> value, as the decoder is called
UNUSED = frozenset({"past_key_values", "use_cache", "cache_position", "return_dict", "output_attentions"})


class Unpackable(Exception):
    """What keeps a model's decoder from running packs, in words."""


class _HandedOver(BaseException):
    """Carries what a decoder was called with; no error, so that nothing on the way takes it for one."""

    def __init__(self, inputs: Handed) -> None:
        super().__init__()
        self.inputs = inputs


def handed_over(lm: Any, trunk: nn.Module, inputs: Mapping[str, Any]) -> Handed:
    """What the model calls its decoder `trunk` with, given its processor's inputs; differentiable.

    Raises Unpackable if it does not call it.
    """

    def stop(module: nn.Module, args: tuple[Any, ...], inputs: Handed) -> None:
        raise _HandedOver(inspect.signature(module.forward).bind_partial(*args).arguments | inputs)

    with trunk.register_forward_pre_hook(stop, with_kwargs=True):
        try:
            lm(**inputs, use_cache=False)
        except _HandedOver as given:
            handed = {key: value for key, value in given.inputs.items() if key not in UNUSED and value is not None}
            return _embedded(trunk, handed)
    raise Unpackable(f"its forward does not call its decoder, a {type(trunk).__name__}")


def _embedded(trunk: Any, handed: Handed) -> Handed:
    """The same with embeddings in place of ids, where pictures are looked at beside the text (Mllama)."""
    ids = handed.get("input_ids")
    if ids is None or not any(is_by_query(value, ids.shape[1]) for value in handed.values()):
        return handed
    others = {key: value for key, value in handed.items() if key != "input_ids"}
    return {"inputs_embeds": trunk.get_input_embeddings()(ids), **others}


def with_tail(inputs: Mapping[str, Tensor], tail: Tensor) -> dict[str, Tensor]:
    """The processor's inputs of one row with [1, k] ids behind; per-token companions are continued as plain text.

    What each token sees of a picture (Mllama's [1, t, images, tiles]) is continued as its last token has it.
    """
    length = inputs["input_ids"].shape[1]
    longer = dict(inputs)
    for key, value in inputs.items():
        if value.shape == (1, length):
            fill = tail if key == "input_ids" else torch.full_like(tail, _companion(key, value)).to(value.dtype)
            longer[key] = torch.cat([value, fill], dim=1)
        elif is_of_tokens(value, length):
            longer[key] = torch.cat([value, value[:, -1:].expand(-1, tail.shape[1], *value.shape[2:])], dim=1)
    return longer


def is_of_tokens(value: Tensor, length: int) -> bool:
    """Whether an input of a processor says something of each token: [1, length], or whole numbers [1, length, ...]."""
    return value.shape == (1, length) or (
        value.ndim > 2 and value.shape[:2] == (1, length) and not value.is_floating_point()
    )


def _companion(key: str, value: Tensor) -> int:
    """What goes with a token of a caption.

    Token types are 1 at images, then text is 0; where all of a prompt is 0, image included (PaliGemma: it sees all of
    itself), what follows it is 1.
    """
    return int(key == "attention_mask" or (key == "token_type_ids" and not bool(value.any())))


def as_one(rows: Sequence[Mapping[str, Tensor]], skipped: Sequence[int]) -> dict[str, Tensor]:
    """The processor's inputs of several rows as those of one row with several images.

    Args:
        skipped: tokens at the beginning of each row that an earlier one has already.

    Raises Unpackable for images whose inputs do not stand side by side.
    """
    whole = {}
    for key in same_keys(rows):
        values = [row[key] for row in rows]
        lengths = [row["input_ids"].shape[1] for row in rows]
        if all(value.shape[:2] == (1, n) for value, n in zip(values, lengths, strict=True)):
            whole[key] = torch.cat([value[:, skip:] for value, skip in zip(values, skipped, strict=True)], dim=1)
        elif len({value.shape[1:] for value in values}) == 1:
            whole[key] = torch.cat(values)
        else:
            raise Unpackable(f"{key} of its images are of unequal shapes")
    return whole


def same_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all. Raises Unpackable if one lacks some, as where only large images have crops."""
    if any(row.keys() != rows[0].keys() for row in rows):
        raise Unpackable("its images are not described by the same inputs")
    return list(rows[0])


def padded(handed: Handed, length: int) -> Handed:
    """What a decoder is called with for one row, its tokens followed by zeros up to a length."""
    tokens = handed["inputs_embeds"].shape[1]

    def longer(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape[:2] != (1, tokens):
            return value
        return pad(value, (0, 0) * (value.ndim - 2) + (0, length - tokens))

    return {key: tree_map(longer, value) for key, value in handed.items()}


@dataclass(frozen=True)
class Joining:
    """How rows stand in one sequence.

    Attributes:
        skipped: tokens at the beginning of each row that an earlier row of the sequence has already.
        places: int64 [t], the place of each token of the sequence in the row that a caption would have alone; 0 in the
            padding at the end.
    """

    skipped: tuple[int, ...]
    places: Tensor


def joined(rows: Sequence[Handed], how: Joining) -> Handed:
    """What the decoder is called with for all rows in one sequence; masks aside.

    Raises Unpackable for a value that cannot be joined.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in ("attention_mask", "position_ids")))
    lengths = [row["inputs_embeds"].shape[1] for row in rows]
    whole = {key: _joined_value(key, [row.get(key) for row in rows], lengths, how) for key in keys}
    return whole | {"position_ids": _positions([row.get("position_ids") for row in rows], lengths, how)}


def _positions(values: Sequence[Any], lengths: Sequence[int], how: Joining) -> Tensor:
    """[..., 1, t] position ids: a token behind the image has those of the same place of its row."""
    if all(value is None for value in values):
        return how.places[None]
    parts, start = [], 0
    for value, length, skip in zip(values, lengths, how.skipped, strict=True):
        end = start + length - skip
        if not isinstance(value, Tensor) or value.shape[-1] != length:
            raise Unpackable("its position ids are not one set a token")
        parts.append(value.index_select(-1, how.places[start:end]))
        start = end
    return pad(torch.cat(parts, dim=-1), (0, len(how.places) - start))


def _joined_value(key: str, values: Sequence[Any], lengths: Sequence[int], how: Joining) -> Any:
    """One value of all rows: of each token or each image token one after the other, a setting as it is."""
    first = values[0]
    if all(type(value) is type(first) for value in values):
        if isinstance(first, Tensor):
            return _joined_tensors(key, values, lengths, how)
        if isinstance(first, (list, tuple)) and len({len(value) for value in values}) == 1:
            each = (_joined_value(key, some, lengths, how) for some in zip(*values, strict=True))
            return type(first)(each)
        if isinstance(first, dict) and all(value.keys() == first.keys() for value in values):
            return {k: _joined_value(key, [value[k] for value in values], lengths, how) for k in first}
        if isinstance(first, (bool, int, float, str)) and all(value == first for value in values):
            return first
    raise Unpackable(f"its decoder is called with {key}, a {type(first).__name__} that differs between images")


def _joined_tensors(key: str, values: Sequence[Tensor], lengths: Sequence[int], how: Joining) -> Tensor:
    """By their shapes: [1, tokens of the row, ...], or what is of images, none of it in a shared beginning."""
    if all(is_by_query(value, n) for value, n in zip(values, lengths, strict=True)):
        return _joined_looks(values, how)
    if all(value.shape[:2] == (1, n) for value, n in zip(values, lengths, strict=True)):
        whole = torch.cat([value[:, skip:] for value, skip in zip(values, how.skipped, strict=True)], dim=1)
        return pad(whole, (0, 0) * (whole.ndim - 2) + (0, len(how.places) - whole.shape[1]))
    along = int(all(value.ndim == 3 and len(value) == 1 for value in values))
    others = {(*value.shape[:along], *value.shape[along + 1 :]) for value in values}
    if len(others) == 1 and 1 < values[0].ndim < 4:
        return torch.cat(list(values), dim=along)
    raise Unpackable(f"its decoder is called with {key} of shape {list(values[0].shape)}, which is not one a token")


def is_by_query(value: Any, tokens: int) -> bool:
    """Whether it says of each token what it sees of the images beside the text: [1, 1, tokens, image tokens or 1]."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[:3] == (1, 1, tokens)


def _joined_looks(values: Sequence[Tensor], how: Joining) -> Tensor:
    """[1, 1, t, image tokens of all]: a token sees what it saw of its own image, and nothing of others.

    [1, 1, t, 1], whether it sees anything, is as it was.
    """
    rows = [value[0, 0, skip:] for value, skip in zip(values, how.skipped, strict=True)]
    if all(row.shape[1] == 1 for row in rows):
        return pad(torch.cat(rows), (0, 0, 0, len(how.places) - sum(map(len, rows))))[None, None]
    hidden = torch.finfo(rows[0].dtype).min if rows[0].is_floating_point() else 0
    whole = rows[0].new_full((len(how.places), sum(row.shape[1] for row in rows)), hidden)
    top = left = 0
    for row in rows:
        whole[top : top + len(row), left : left + row.shape[1]] = row
        top, left = top + len(row), left + row.shape[1]
    return whole[None, None]
