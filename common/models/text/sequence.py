"""Token sequences with an image inside: cutting, joining with embeddings, padding on either side.

Shapes: n rows, t positions, d hidden size, m image tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common.errors import DataError
from common.models.text.ids import PromptIds


def check_lengths(**lists: Sequence[object]) -> None:
    """Raise DataError, with their names, if lists that go together are of unequal length."""
    if len({len(one) for one in lists.values()}) > 1:
        lengths = ", ".join(f"{len(one)} {name}" for name, one in lists.items())
        raise DataError(f"one of each is needed for every sample, but there are {lengths}")


def embed_rows(
    embed: Callable[[Tensor], Tensor],
    features: Tensor,
    prompts: Sequence[PromptIds],
    tails: Sequence[Sequence[int]],
) -> list[Tensor]:
    """One [t_i, d] tensor of input embeddings per row: before, image, after, tail.

    Args:
        embed: token ids [k] -> [k, d].
        features: [n, m, d], of the dtype of the embeddings.
        prompts, tails: n each; a tail is what follows the prompt (teacher-forced tokens), often empty.
    """
    rows = []
    for feature, prompt, tail in zip(features, prompts, tails, strict=True):
        ids = [*prompt.before, *prompt.after, *tail]
        words = embed(torch.tensor(ids, dtype=torch.long, device=feature.device))
        cut = len(prompt.before)
        rows.append(torch.cat([words[:cut], feature, words[cut:]]))
    return rows


def pad_rows(rows: Sequence[Tensor], left: bool) -> tuple[Tensor, Tensor]:
    """Stack rows of unequal length: ([n, t, d] with zeros in the padding, [n, t] int64 mask of real positions)."""
    longest = max(row.shape[0] for row in rows)
    padded = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=rows[0].device)
    for i, row in enumerate(rows):
        real = slice(longest - row.shape[0], None) if left else slice(row.shape[0])
        padded[i, real] = row
        mask[i, real] = 1
    return padded, mask


def attention_mask(
    prompts: Sequence[PromptIds],
    tails: Sequence[Sequence[int]],
    image_tokens: int,
    hidden_ids: frozenset[int],
    embeds: Tensor,
) -> Tensor | None:
    """[n, t] mask with 0 where one of `hidden_ids` stands; None if none does (right padding needs no mask).

    `embeds`: the [n, t, d] rows that the mask is for.
    """
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    for line, prompt, tail in zip(mask, prompts, tails, strict=True):
        for i, word in enumerate([*prompt.before, *prompt.after, *tail]):
            if word in hidden_ids:
                line[i if i < len(prompt.before) else i + image_tokens] = 0
    return None if bool(mask.all()) else mask.to(embeds.device)


def target_table(targets: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Targets as ([n, longest] ids, 0 past the end; [n, longest] bool, True on real ones)."""
    longest = max(len(target) for target in targets)
    ids = torch.zeros(len(targets), longest, dtype=torch.long)
    real = torch.zeros(len(targets), longest, dtype=torch.bool)
    for i, target in enumerate(targets):
        ids[i, : len(target)] = torch.tensor(list(target), dtype=torch.long)
        real[i, : len(target)] = True
    return ids.to(device), real.to(device)
