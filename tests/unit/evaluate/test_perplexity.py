"""Perplexity against its closed form, with a model whose probabilities are known."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from common.errors import CheckpointError
from evaluate.perplexity import load_judge, perplexity


class Uniform:
    """Every one of `size` tokens is equally likely, but the padding position would be certain of token 1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.device = "cpu"
        self.config = LlamaConfig(max_position_embeddings=16)

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


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model."""
    folder = tmp_path_factory.mktemp("judge")
    words = Tokenizer(WordLevel({"a": 0, "dog": 1, "?": 2}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=3, **sizes)).save_pretrained(folder)
    load_judge(str(folder), "cpu")
    return folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("*", r"no folder .*judge \(from --ppl_model\); give that of a causal language model"),
        ("config.json", r"no config\.json in .*judge \(from --ppl_model\); give a causal language model's folder"),
        ("tokenizer*", r"no tokenizer in .*judge \(from --ppl_model\): .*; copy the release's, with tokenizer_config"),
        ("model.safetensors", r"no weights of the language model in .*judge \(from --ppl_model\).*; copy them from"),
    ],
)
def test_a_judge_that_lacks_a_part_is_told_which(judge: Path, tmp_path: Path, files: str, message: str) -> None:
    if files != "*":
        shutil.copytree(judge, tmp_path / "judge", ignore=shutil.ignore_patterns(files))
    with pytest.raises(CheckpointError, match=message):
        load_judge(str(tmp_path / "judge"), "cpu")


def test_code_of_a_judge_is_neither_run_nor_asked_about(judge: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """transformers would ask on the terminal; nothing but --trust_remote_code, which no judge has, is a yes."""
    shutil.copytree(judge, tmp_path / "judge")
    code = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (tmp_path / "judge" / "config.json").write_text(json.dumps(code))
    (tmp_path / "judge" / "own.py").write_text("raise SystemExit('was run')")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(
        CheckpointError, match=r"contains custom code .*; copy it again, or give the folder or hub name"
    ):
        load_judge(str(tmp_path / "judge"), "cpu")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.safetensors", lambda data: data[:-50], "is no causal language model .*not fully covered"),
        ("tokenizer.json", lambda _: b'{"a": 1}', "is no causal language model"),
        ("config.json", lambda _: b"[]", "is no causal language model"),
        ("config.json", lambda data: data.replace(b'layers": 1', b'layers": 2'), r"no file has 9 of its tensors"),
        ("config.json", lambda data: data.replace(b'"vocab_size": 3', b'"vocab_size": 5'), "no file has 2 of its"),
    ],
)
def test_a_damaged_judge_is_one_line_and_never_drawn_at_random(
    judge: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    """A block that no file has (its nine tensors) would be random numbers, and a perplexity all the same."""
    shutil.copytree(judge, tmp_path / "judge")
    path = tmp_path / "judge" / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as error:
        load_judge(str(tmp_path / "judge"), "cpu")
    assert "\n" not in str(error.value)
