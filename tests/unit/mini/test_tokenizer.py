"""The tokenizers of the mini models: the ids that LLaMA has, and every text there and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from common import prompts
from common.paths import MINI_LLAVA
from dataset.mini.categories import CATEGORIES
from dataset.mini.tokenizer import BYTES, SPACE, VOCABULARY, clip_tokenizer, llava_tokenizer, train_bpe

TEXTS = ["The image shows a beach with two puppies.", "There is also a dog, and three men.", "A photo of a cat."] * 20
# Any text but what stands for something else: the blank's own sign, and the beginning of a special token.
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[SPACE, "<"]), max_size=60)


@pytest.fixture(scope="module")
def learned() -> PreTrainedTokenizerFast:
    """A tokenizer learned from a few sentences."""
    return llava_tokenizer(train_bpe(TEXTS))


@pytest.fixture(scope="module")
def bundled() -> PreTrainedTokenizerFast:
    """That of checkpoints/mini-llava, as anybody loads it."""
    return AutoTokenizer.from_pretrained(MINI_LLAVA)


@pytest.fixture(params=["learned", "bundled"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Either of them."""
    found: PreTrainedTokenizerFast = request.getfixturevalue(request.param)
    return found


def test_ids_are_those_of_llama(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<unk>", "<s>", "</s>"]
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.convert_ids_to_tokens(list(range(3, 259))) == BYTES
    assert tokenizer.convert_ids_to_tokens([259, 260]) == ["<image>", "<pad>"]
    assert len(tokenizer) <= VOCABULARY


def test_special_are_the_five_and_no_byte(tokenizer: PreTrainedTokenizerFast) -> None:
    assert set(tokenizer.all_special_tokens) == {"<unk>", "<s>", "</s>", "<pad>", "<image>"}


def back(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """Encoded and decoded."""
    return str(tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True))


@pytest.mark.parametrize("name", ["learned", "bundled"])
def test_every_text_comes_back(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer: PreTrainedTokenizerFast = request.getfixturevalue(name)

    @settings(max_examples=150, deadline=None)
    @given(PLAIN)
    def check(text: str) -> None:
        assert back(tokenizer, text) == text

    check()


@pytest.mark.parametrize(
    "text", ["Ein Café, größer – naïve", "犬と猫", "emoji \U0001f415\U0001f3fd!", "tab\tand\nline", "  two  "]
)
def test_other_languages_and_blanks_come_back(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert back(tokenizer, text) == text
    assert tokenizer.unk_token_id not in tokenizer(text).input_ids


def test_bos_stands_in_front_and_no_end_symbol_behind(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("A dog.").input_ids
    assert ids[0] == 1 and ids.count(1) == 1 and 2 not in ids


def test_the_image_token_is_one_id_wherever_it_stands(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("USER: <image>\nDescribe.").input_ids
    assert ids.count(259) == 1


def test_the_bundled_vocabulary_knows_the_words_of_the_world(bundled: PreTrainedTokenizerFast) -> None:
    """No name of an object is spelt in bytes; the usual one costs few tokens."""
    for category in CATEGORIES:
        for singular, _ in (name for look in category.looks for name in look.names):
            ids = bundled(f"a {singular}", add_special_tokens=False).input_ids
            assert min(ids) > 260, singular
            assert len(ids) <= 8, singular
    assert len(bundled(prompts.TRAIN).input_ids) < len(prompts.TRAIN) / 2


def test_the_scorers_text_ends_in_its_highest_id_and_has_no_capitals() -> None:
    tokenizer = clip_tokenizer(train_bpe(TEXTS))
    ids = tokenizer("A photo of a CAT.").input_ids
    assert ids[-1] == len(tokenizer) - 1 == max(ids) and ids.count(ids[-1]) == 1
    assert ids == tokenizer("a Photo of a cat.").input_ids
