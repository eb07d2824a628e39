"""Objects of a caption by any causal language model that transformers loads: one-shot instruction, greedy decoding.

The instruction is `dataset/object_instruction.txt`. A tokenizer with a chat template wraps it as its model was taught;
otherwise it is given as plain text. Model code from a hub is never executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.files.records import ObjectMention
from common.files.storage import read_text
from common.hub import local
from common.paths import DATASET
from insight.objects.object_list import locate_all, parse_object_list

FLAG = "--extractor_model"
INSTRUCTION = DATASET / "object_instruction.txt"


class LlmExtractor:
    """Asks a language model. Captions are asked one by one, so that a result does not depend on its neighbours.

    Args:
        model: a causal LM of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        max_new_tokens: longest answer; of an answer cut there the last item is dropped, as it may be half a word.
    """

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int = 200) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.instruction = read_text(INSTRUCTION).rstrip("\n")

    @classmethod
    def load(cls, path: str, device: str = "auto", max_new_tokens: int = 200) -> LlmExtractor:
        """Load model and tokenizer from a folder or a hub name; bfloat16 on a GPU, float32 on the CPU.

        Raises CheckpointError if there is no causal LM.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = local(path, FLAG, bare=True)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise CheckpointError(
                f"--extractor_model {path} is no causal language model that transformers loads: {reason}"
            ) from None
        return cls(model.to(device).eval(), tokenizer, max_new_tokens)

    def prompt(self, caption: str) -> str:
        """The whole text input, with the model's own chat template where there is one."""
        text = self.instruction.replace("{caption}", " ".join(caption.split()))
        if self.tokenizer.chat_template is None:
            return text
        turns = [{"role": "user", "content": text}]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def answer(self, caption: str) -> str:
        """What the model writes, up to its first line that holds something; a cut answer loses its last item."""
        import torch

        special = self.tokenizer.chat_template is None  # a chat template brings its own
        inputs = self.tokenizer(self.prompt(caption), return_tensors="pt", add_special_tokens=special)
        ids = inputs["input_ids"].to(self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self._pad_id(),
            )
        new = output[0, ids.shape[1] :]
        text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        return without_cut_item(text) if len(new) >= self.max_new_tokens else text

    def _pad_id(self) -> int:
        for name in ("pad_token_id", "eos_token_id"):
            value = getattr(self.tokenizer, name)
            if value is not None:
                return int(value)
        return 0

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        """Yield, for each caption, every mention of an object that the model named and that stands in the caption."""
        for caption in captions:
            yield locate_all(caption, parse_object_list(first_block(self.answer(caption))))


def first_block(answer: str) -> str:
    """The answer up to the next "Description:", which a model without chat training goes on to invent."""
    return answer.split("Description:", 1)[0]


def without_cut_item(answer: str) -> str:
    """The answer up to its last separator."""
    return answer[: max(answer.rfind(","), answer.rfind("\n"), 0)]


def extractor_files(path: str) -> Path | None:
    """The folder of the model on this machine, for its hash; None if there is none. What a hub id names is fetched.

    Raises CheckpointError as :func:`common.hub.local`.
    """
    folder = Path(local(path, FLAG, bare=True))
    return folder if folder.is_dir() else None
