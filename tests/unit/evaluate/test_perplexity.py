"""Perplexity against its closed form, with a model whose probabilities are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.errors import CheckpointError
from evaluate.perplexity import load_judge, perplexity


class Uniform:
    """Every one of `size` tokens is equally likely, but the padding position would be certain of token 1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.device = "cpu"
        self.config = SimpleNamespace(max_position_embeddings=16)

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        """Logits [n, t, size]."""
        logits = torch.zeros(*input_ids.shape, self.size)
        logits[..., 1] = torch.where(attention_mask == 0, 50.0, 0.0)
        return SimpleNamespace(logits=logits)


def letters(text: str) -> dict[str, list[int]]:
    """One token a character."""
    return {"input_ids": [ord(c) - 97 for c in text]}


def test_a_uniform_model_has_as_many_choices_as_tokens() -> None:
    assert perplexity(Uniform(5), letters, ["abc", "de", "a" * 40]) == pytest.approx(5.0, rel=1e-5)


def test_padding_and_texts_without_prediction_do_not_count() -> None:
    assert perplexity(Uniform(5), letters, ["abcde", "b", "", "ab"]) == pytest.approx(5.0, rel=1e-5)
    assert perplexity(Uniform(5), letters, ["a", ""]) == 0.0


def test_mean_is_over_tokens_not_over_texts() -> None:
    """A model sure of token 1: "bb" costs nothing, "aaa" twice 20 nats; over three predictions."""

    class Sure(Uniform):
        def __call__(self, input_ids: Any, attention_mask: Any) -> Any:  # noqa: ARG002
            logits = torch.zeros(*input_ids.shape, 2)
            logits[..., 1] = 20.0
            return SimpleNamespace(logits=logits)

    assert perplexity(Sure(2), letters, ["bb", "aaa"]) == pytest.approx(math.exp(40 / 3), rel=1e-3)


def test_a_folder_without_model_is_a_one_line_error(tmp_path: Any) -> None:
    with pytest.raises(CheckpointError, match="is no causal language model"):
        load_judge(str(tmp_path), "cpu")
