"""Tokenisation as the published models do it, with the traps that transformers' own loading falls into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import CheckpointError
from common.models.text.tokenizers import BLANK, FastTokenizer, SentencePieceTokenizer, load_tokenizer
from tests.unit.models.tiny_auto import auto_tokenizer
from tests.unit.models.tiny_checkpoints import write_tokenizer

TEXTS = st.text(alphabet=st.sampled_from("abdog .,\n $15é狗▁<s>/"), max_size=30)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)


@pytest.fixture(scope="module")
def ours(tokenizer_file: Path) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(tokenizer_file)


@pytest.fixture(scope="module")
def raw(tokenizer_file: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))


def test_special_ids_are_llamas(ours: SentencePieceTokenizer) -> None:
    assert (ours.unk_id, ours.bos_id, ours.eos_id) == (0, 1, 2)
    assert ours.id_of("<0x0A>") == 13 and ours.id_of("no such piece") == ours.unk_id


def test_a_leading_space_gives_one_more_blank(ours: SentencePieceTokenizer) -> None:
    blank = ours.id_of(BLANK)
    assert ours.encode(" dog") == [blank, *ours.encode("dog")]
    assert "".join(ours.model.id_to_piece(i) for i in ours.encode(" ")) == BLANK * 2


def test_newline_is_a_blank_and_a_byte(ours: SentencePieceTokenizer) -> None:
    assert ours.encode("\n") == [ours.id_of(BLANK), 13]


def test_bytes_of_unknown_characters(ours: SentencePieceTokenizer) -> None:
    assert ours.encode("狗")[1:] == [3 + byte for byte in "狗".encode()]


def test_digits_are_single(ours: SentencePieceTokenizer) -> None:
    assert ours.decode(ours.encode("2525")) == "2525"
    assert len(ours.encode("a2525")) == len(ours.encode("a")) + 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A dog.</s>", ["A dog.", 2]),
        ("</s>", [2]),
        ("a</s> b", ["a", 2, " b"]),
        ("<s>a", [1, "a"]),
        ("a <unk> b", ["a ", 0, " b"]),
    ],
)
def test_specials_are_cut_out(text: str, parts: list[str | int], ours: SentencePieceTokenizer, raw: Any) -> None:
    expected = [i for part in parts for i in ([part] if isinstance(part, int) else raw.encode(part))]
    assert ours.encode(text) == expected
    assert ours.encode_with_offsets(text)[0] == expected


@SHARED
@given(text=TEXTS)
def test_offsets_point_at_the_text(text: str, ours: SentencePieceTokenizer) -> None:
    ids, offsets = ours.encode_with_offsets(text)
    assert ids == ours.encode(text)
    reached = 0
    for i, (start, end) in zip(ids, offsets, strict=True):
        assert start <= reached <= end or start == reached
        piece = ours.model.id_to_piece(i)
        if i > 2 and not ours.model.is_byte(i):
            assert piece in (text[start:end].replace(" ", BLANK), BLANK + text[start:end].replace(" ", BLANK))
        reached = max(reached, end)
    assert reached == len(text)


@SHARED
@given(text=st.text(alphabet="abdog .,\n $15é狗", max_size=30))
def test_decoding_gives_the_text_back(text: str, ours: SentencePieceTokenizer) -> None:
    assert ours.decode(ours.encode(text)) == text


def test_decoding_leaves_specials_and_filler_ids_out(ours: SentencePieceTokenizer) -> None:
    assert ours.decode([1, *ours.encode("a dog"), 2, ours.vocab_size + 3]) == "a dog"


def test_unknown_characters_without_byte_fallback(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    write_tokenizer(path, byte_fallback=False)
    tokenizer = SentencePieceTokenizer(path)
    ids, offsets = tokenizer.encode_with_offsets("a 狗 b")
    assert tokenizer.unk_id in ids and ids == tokenizer.encode("a 狗 b") and offsets[-1][1] == 5


def test_the_fast_one_adds_nothing_and_knows_offsets(tmp_path: Path) -> None:
    tokenizer = FastTokenizer(auto_tokenizer("internvl"), tmp_path)
    ids, offsets = tokenizer.encode_with_offsets("a dog")
    assert ids == tokenizer.encode("a dog") and tokenizer.bos_id not in ids
    assert [offsets[0][0], offsets[-1][1]] == [0, 5]
    assert tokenizer.decode([1, *ids, 2]) == "a dog"


def test_which_file_is_read(tmp_path: Path, tokenizer_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither tokenizer.model nor tokenizer.json"):
        load_tokenizer(tmp_path, prefer_fast=True)
    auto_tokenizer("internvl").save_pretrained(tmp_path)
    assert isinstance(load_tokenizer(tmp_path, prefer_fast=False), FastTokenizer)
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_file.read_bytes())
    assert isinstance(load_tokenizer(tmp_path, prefer_fast=False), SentencePieceTokenizer)
    assert isinstance(load_tokenizer(tmp_path, prefer_fast=True), FastTokenizer)


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match=name):
        load_tokenizer(tmp_path, prefer_fast=True)
