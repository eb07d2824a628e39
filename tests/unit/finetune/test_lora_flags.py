"""Flags of low-rank adapters: how they are read, and where they make no sense."""

from __future__ import annotations

import pytest

from common.args import parse
from common.errors import ArgumentError
from finetune.setup.arguments import GROUPS, Flags


def flags(*words: str) -> Flags:
    """The groups of a command line."""
    return Flags(*parse(GROUPS, "", words))


@pytest.mark.parametrize("words", [["q_proj", "v_proj"], ["q_proj,v_proj"], ["q_proj+v_proj"], ["q_proj, v_proj"]])
def test_targets_are_read_apart_or_joined(words: list[str]) -> None:
    given = flags("--trainable", "lora", "--lora_targets", *words, "--lora_rank", "8")
    given.check()
    assert given.optimizer.lora_settings() == {"rank": 8, "targets": ("q_proj", "v_proj")}


def test_without_flags_nothing_is_given() -> None:
    assert flags("--trainable", "lora").optimizer.lora_settings() == {}


def test_they_are_refused_where_no_adapters_are_trained() -> None:
    with pytest.raises(ArgumentError, match=r"--lora_rank is of low-rank adapters, and --trainable is connector"):
        flags("--lora_rank", "8").check()


@pytest.mark.parametrize(("name", "value"), [("rank", "0"), ("alpha", "-1"), ("dropout", "1"), ("targets", ",")])
def test_values_out_of_range_are_refused_before_anything_is_loaded(name: str, value: str) -> None:
    with pytest.raises(ArgumentError, match=f"--lora_{name}"):
        flags("--trainable", "connector+lora", f"--lora_{name}", value).check()


@pytest.mark.parametrize("stored", [["--load_in_4bit"], ["--decoder_dtype", "fp8"]])
@pytest.mark.parametrize("part", ["decoder", "connector+decoder:2", "all"])
def test_a_decoder_of_codes_is_not_trained(stored: list[str], part: str) -> None:
    with pytest.raises(ArgumentError, match=f"weights of 4 or 8 bits cannot be trained.* leave out {' '.join(stored)}"):
        flags("--trainable", part, *stored).check()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--decoder_dtype", "fp8"], "needs an NVIDIA GPU .* the device is cpu"),
        (["--decoder_dtype", "fp8", "--load_in_4bit"], "two ways to store the decoder"),
        (["--fp8_from_block", "0"], "--fp8_from_block 0 says nothing without"),
        (
            ["--decoder_dtype", "fp8", "--paper_numerics"],
            "pure bfloat16, as published, and --decoder_dtype fp8 does not",
        ),
    ],
)
def test_bits_that_cannot_be_had_are_refused_before_any_data_are_read(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        flags("--device", "cpu", "--trainable", "connector+lora", *words).check()


def test_a_decoder_of_codes_is_none_in_the_way_of_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.models.weights.eight_bit.require_float8", lambda _device, _dtype: None)
    flags("--trainable", "connector+lora", "--decoder_dtype", "fp8").check()
