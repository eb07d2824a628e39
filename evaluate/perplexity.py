"""Perplexity of captions under a causal language model: how fluent they are, by an outside judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.progress import bar, batches

if TYPE_CHECKING:
    from torch import Tensor


def load_judge(path: str, device: str = "auto") -> tuple[Any, Any]:
    """Model and tokenizer of a causal LM, or of an image-text model read as one. Raises CheckpointError if neither."""
    from common.models.checkpoints.causal_lm import load_causal
    from common.models.resolve import resolve_device

    return load_causal(path, "--ppl_model", resolve_device(device), of_images=True)


def perplexity(model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 16) -> float:
    """exp of the mean negative log-likelihood a token, over all tokens of all texts but each one's first.

    Texts of fewer than two tokens have nothing to predict; 0.0 if all are such.
    """
    total, count = 0.0, 0
    order = sorted(texts, key=len)
    groups = batches(list(order), batch_size)
    for group in bar(groups, "perplexity", len(groups)):
        losses, tokens = _batch(model, tokenizer, group)
        total += losses
        count += tokens
    return math.exp(total / count) if count else 0.0


def _batch(model: Any, tokenizer: Any, texts: Sequence[str]) -> tuple[float, int]:
    """Summed negative log-likelihood and number of predicted tokens; right padding, which a causal mask ignores."""
    import torch

    ids = [torch.tensor(tokenizer(text)["input_ids"][: _limit(model)]) for text in texts]
    ids = [row for row in ids if len(row) > 1]
    if not ids:
        return 0.0, 0
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(model.device)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True).to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=padded, attention_mask=mask).logits[:, :-1].float()
    losses: Tensor = (
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), padded[:, 1:].flatten(), reduction="none")
        * mask[:, 1:].flatten()
    )
    return float(losses.sum()), int(mask[:, 1:].sum())


def _limit(model: Any) -> int:
    """Most tokens that the model can see at once."""
    from common.models.anatomy import positions_of

    return positions_of(model.config) or 2048
