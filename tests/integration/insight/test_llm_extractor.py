"""Objects by a causal language model: a tiny random one made here, and one that answers what the test wants."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from common.errors import CheckpointError
from common.objects.llm_extractor import LlmExtractor, first_block, without_cut_item
from tests.forks.scripts import run

CHAT = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
CAPTION = "Two dogs sit near a traffic light.\nA cat looks on."


def byte_tokenizer(chat: str | None = None) -> PreTrainedTokenizerFast:
    """One token a byte, so that any text can be read and written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*alphabet, "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    wrapped.chat_template = chat
    return wrapped


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random language model of two layers."""
    path = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


class Answering:
    """A stand-in for a model: continues any prompt with a fixed answer, and remembers the prompt."""

    device = "cpu"

    def __init__(self, tokenizer: PreTrainedTokenizerFast, answer: str) -> None:
        self.tokenizer, self.ids = tokenizer, tokenizer(answer)["input_ids"]
        self.prompt, self.settings = "", SimpleNamespace()

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **settings: Any) -> torch.Tensor:
        self.prompt = self.tokenizer.decode(input_ids[0])
        self.settings = SimpleNamespace(**settings)
        return torch.cat([input_ids, torch.tensor([self.ids[:max_new_tokens]])], dim=1)


def ask(answer: str, chat: str | None = None, max_new_tokens: int = 100) -> tuple[list[str], Answering]:
    """Objects of CAPTION by a model that gives this answer, and the model."""
    tokenizer = byte_tokenizer(chat)
    model = Answering(tokenizer, answer)
    (mentions,) = LlmExtractor(model, tokenizer, max_new_tokens).extract([CAPTION])
    return [mention.text for mention in mentions], model


def test_what_stands_in_the_caption_is_kept_in_its_order() -> None:
    assert ask("cat, unicorn, traffic light, dogs, dog")[0] == ["dogs", "traffic light", "cat"]


def test_decoding_is_greedy() -> None:
    settings = ask("cat")[1].settings
    assert (settings.do_sample, settings.num_beams) == (False, 1)


def test_the_prompt_holds_instruction_example_and_caption() -> None:
    prompt = ask("cat")[1].prompt
    assert prompt.count("Description:") == 2 and prompt.endswith("Answer:")
    assert "Two dogs sit near a traffic light. A cat looks on." in prompt and "{caption}" not in prompt


def test_d17_the_models_own_chat_template_wraps_the_instruction_without_end_tokens() -> None:
    prompt = ask("cat", chat=CHAT)[1].prompt
    assert prompt.startswith("[INST] You are given") and prompt.endswith("Answer: [/INST]")
    assert "</s>" not in prompt


def test_an_answer_cut_by_the_limit_loses_its_last_item() -> None:
    """The published limit of 50 tokens cut lists in the middle: "cat" might have been "cattle"."""
    assert ask("dogs, cat", max_new_tokens=9)[0] == ["dogs"]
    assert ask("dogs, cat", max_new_tokens=10)[0] == ["dogs", "cat"]
    assert without_cut_item("one") == ""


def test_what_the_model_goes_on_to_invent_does_not_count() -> None:
    assert first_block("cat\n\nDescription: dogs") == "cat\n\n"
    assert ask("cat\n\nDescription: dogs\nAnswer: dogs")[0] == ["cat"]


def test_a_random_model_gives_whole_words_at_their_offsets_and_the_same_twice(folder: Path) -> None:
    extractor = LlmExtractor.load(str(folder), "cpu", max_new_tokens=20)
    first, again = list(extractor.extract([CAPTION, "A bus."])), list(extractor.extract([CAPTION, "A bus."]))
    assert first == again and len(first) == 2
    assert all(CAPTION[m.start : m.end] == m.text for m in first[0])
    assert isinstance(extractor.answer(CAPTION), str)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json in .*from --extractor_model"):
        LlmExtractor.load(str(tmp_path), "cpu")


def test_the_script_runs_with_it_and_does_not_mix_extractors(folder: Path, tmp_path: Path) -> None:
    captions, target = tmp_path / "c.jsonl", tmp_path / "o.jsonl"
    captions.write_text(json.dumps({"image_id": 1, "caption": CAPTION}) + "\n")
    base = ["insight/object.py", "--caption_data_path", str(captions)]
    base += ["--object_data_path", str(target)]
    model = ["--extractor", "llm", "--extractor_model", str(folder), "--extractor_max_new_tokens", "8"]
    assert run([*base, *model, "--device", "cpu"]).returncode == 0
    made = target.read_bytes()
    assert json.loads(made)["caption"] == CAPTION
    assert json.loads((tmp_path / "o.jsonl.manifest.json").read_text())["model_hash"]
    other = run(base)
    assert other.returncode == 2 and "was begun with extractor llm, now it is spacy" in other.stderr
    assert target.read_bytes() == made
