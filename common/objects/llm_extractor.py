"""Objects of a caption by any causal language model that transformers loads: one-shot instruction, greedy decoding.

The instruction is `dataset/object_instruction.txt`. A tokenizer with a chat template wraps it as its model was taught;
otherwise it is given as plain text. Model code from a hub is never executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files.hub import local
from common.files.records import ObjectMention
from common.files.storage import read_text
from common.objects.object_list import locate_all, parse_object_list
from common.paths import DATASET
from common.progress import batches

FLAG = "--extractor_model"
INSTRUCTION = DATASET / "object_instruction.txt"


TOGETHER = 64  # captions that are asked about in one pass over the instruction


class LlmExtractor:
    """Asks a language model; where its decoder is a Llama's, about many captions at a time, the instruction, which is
    the same for all, read once. An answer does not depend on its neighbours.

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

        from common.models.checkpoints.causal_lm import load_causal
        from common.models.resolve import resolve_device

        place = resolve_device(device)
        dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
        model, tokenizer = load_causal(path, FLAG, place, dtype)
        return cls(model, tokenizer, max_new_tokens)

    def prompt(self, caption: str) -> str:
        """The whole text input, with the model's own chat template where there is one."""
        text = self.instruction.replace("{caption}", " ".join(caption.split()))
        if self.tokenizer.chat_template is None:
            return text
        turns = [{"role": "user", "content": text}]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def answer(self, caption: str) -> str:
        """What the model writes; a cut answer loses its last item."""
        return next(iter(self.answers([caption])))

    def answers(self, captions: Sequence[str]) -> Iterator[str]:
        """What the model writes about each caption, in order."""
        import torch

        for some in batches(list(captions), TOGETHER):
            with torch.no_grad():
                rows = self._continued([self._ids(caption) for caption in some])
            yield from map(self._text, rows)

    def _ids(self, caption: str) -> tuple[int, ...]:
        special = self.tokenizer.chat_template is None  # a chat template brings its own
        return tuple(self.tokenizer(self.prompt(caption), add_special_tokens=special)["input_ids"])

    def _text(self, new: Sequence[int]) -> str:
        text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        return without_cut_item(text) if len(new) >= self.max_new_tokens else text

    def _continued(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """New ids after each prompt, greedy."""
        from common.models.generation.decoding import Decoding
        from common.models.generation.growing import grow_texts
        from common.models.generation.tree.llama import why_not

        trunk = getattr(self.model, "model", None)
        if why_not(trunk) is not None:
            return [self._continued_alone(ids) for ids in prompts]
        decoding = Decoding(max_new_tokens=self.max_new_tokens)
        return grow_texts(trunk, self.model.get_output_embeddings(), prompts, decoding, self._stop_ids())

    def _continued_alone(self, prompt: Sequence[int]) -> list[int]:
        import torch

        ids = torch.tensor([prompt], device=self.model.device)
        output = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=self._pad_id(),
        )
        new: list[int] = output[0, ids.shape[1] :].tolist()
        return new

    def _stop_ids(self) -> frozenset[int]:
        """What ends an answer: of the model's own generation settings, else the tokenizer's end symbol."""
        ends = self.model.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        return frozenset([] if ends is None else [ends] if isinstance(ends, int) else ends)

    def _pad_id(self) -> int:
        for name in ("pad_token_id", "eos_token_id"):
            value = getattr(self.tokenizer, name)
            if value is not None:
                return int(value)
        return 0

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        """Yield, for each caption, every mention of an object that the model named and that stands in the caption."""
        for caption, answer in zip(captions, self.answers(captions), strict=True):
            yield locate_all(caption, parse_object_list(first_block(answer)))


def first_block(answer: str) -> str:
    """The answer up to the next "Description:", which a model without chat training goes on to invent."""
    return answer.split("Description:", 1)[0]


def without_cut_item(answer: str) -> str:
    """The answer up to its last separator."""
    return answer[: max(answer.rfind(","), answer.rfind("\n"), 0)]


def extractor_files(path: str) -> Path | None:
    """The folder of the model on this machine, for its hash; None if there is none. What a hub id names is fetched.

    Raises CheckpointError as :func:`common.files.hub.local`.
    """
    folder = Path(local(path, FLAG, bare=True))
    return folder if folder.is_dir() else None
