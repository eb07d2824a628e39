"""The text side of an adapter: templates, where a text input is cut, and how its parts become ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from common.errors import DataError
from common.models.text.ids import CaptionIds, PromptIds
from common.models.text.tokenizers import TextTokenizer


class TextSide:
    """What most families share; those that cut elsewhere override it.

    Class attributes: `name` of the family, `template` with `{prompt}`, `image_token` as it stands in the template.
    `dropped_ids`: ids that the published code removes from its input.
    """

    name: ClassVar[str]
    template: ClassVar[str]
    image_token: ClassVar[str] = "<image>"

    tokenizer: TextTokenizer
    eos_id: int
    dropped_ids: frozenset[int]

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input, image placeholder included; a context follows after one space."""
        text = self.template.format(prompt=prompt)
        return f"{text} {context}" if context else text

    def cut_at_image(self, text: str) -> tuple[str, str]:
        """The text before and after the image placeholder. Raises DataError unless there is exactly one."""
        before, found, after = text.partition(self.image_token)
        if not found or self.image_token in after:
            raise DataError(
                f"a text input for {self.name} needs exactly one {self.image_token}, found "
                f"{text.count(self.image_token)} in {text[:60]!r}; make it with format_prompt"
            )
        return before, after

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:  # noqa: ARG002
        """Token ids of a text input, cut and segmented as the published code does in training or in generation."""
        before, after = self.cut_at_image(text)
        start = () if self.tokenizer.bos_id < 0 else (self.tokenizer.bos_id,)
        return PromptIds((*start, *self._kept(before)), tuple(self._kept(after)))

    def encode_target(self, text: str, add_eos: bool) -> list[int]:
        """A target tokenised apart from its prompt, as published, with one end symbol if wanted."""
        return self._kept(text) + [self.eos_id] * add_eos

    def encode_caption(self, caption: str) -> CaptionIds:
        """A caption tokenised once, as it follows the prompt in generation; leading blanks belong to no token."""
        blanks = len(caption) - len(caption.lstrip())
        ids, offsets = self.tokenizer.encode_with_offsets(caption[blanks:])
        kept = [
            (i, (a + blanks, b + blanks)) for i, (a, b) in zip(ids, offsets, strict=True) if i not in self.dropped_ids
        ]
        return CaptionIds(tuple(i for i, _ in kept), tuple(span for _, span in kept))

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as clean text."""
        return self.tokenizer.decode(ids).strip()

    def _kept(self, text: str) -> list[int]:
        return [i for i in self.tokenizer.encode(text) if i not in self.dropped_ids]
