"""The processor's side of `auto`: questions as a chat template asks them, rows as a model takes them, words of ids."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from common.errors import CheckpointError, DataError, first_line, plain
from common.files.pixels import name_of
from common.models.anatomy import placeholder_id
from common.models.families.raw_images import TextPrompt
from common.models.text.ids import PromptIds
from common.models.text.thoughts import MARKS, after_thought, closed
from common.models.text.tokenizers import FastTokenizer
from common.paths import display
from common.progress import announce

if TYPE_CHECKING:
    from common.models.base import CaptionModel as Mixed
else:
    Mixed = object  # `Auto` brings the model itself

PICTURE = {"type": "image"}
SWITCHES = ("enable_thinking", "thinking")  # as templates call them
SHOWN = 100  # characters of a text in a message
FIRST_WORDS = 3  # ids of a text among which a thought begins


class ProcessingAuto(Mixed):
    """What `auto` does by its processor.

    Attributes:
        plainly: the template's switches for answers without a thought.
        nested: whether the processor is given a list of images for each text.
        begins_of_thoughts, ends_of_thoughts: ids of marks.
        thought_alone: whether a text was met that is no more.
    """

    processor: Any
    plainly: Mapping[str, bool] = MappingProxyType({})
    nested: bool = True
    begins_of_thoughts: frozenset[int] = frozenset()
    ends_of_thoughts: frozenset[int] = frozenset()
    thought_alone: bool = False

    def set_processor(self, processor: Any, tokenizer: FastTokenizer) -> None:
        """Take a processor, and read off it how thoughts are left out."""
        self.processor = processor
        self.plainly = plain_switches(processor.chat_template)
        ids = [frozenset(map(tokenizer.id_of, marks)) - {tokenizer.unk_id} for marks in zip(*MARKS, strict=True)]
        self.begins_of_thoughts, self.ends_of_thoughts = ids

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The processor's chat template around image and prompt, up to where an answer without a thought begins.

        Raises CheckpointError for a template that fails.
        """
        text = closed(self._by_template([PICTURE, {"type": "text", "text": prompt}]))
        return f"{text} {context}" if context else text

    def _by_template(self, content: Sequence[Mapping[str, str]]) -> str:
        turns = [{"role": "user", "content": list(content)}]
        try:
            text: str = self.processor.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False, **self.plainly
            )
        except Exception as error:  # whatever a template raises
            raise CheckpointError(
                f"the chat template of {display(self.source or '')} fails on a picture with a question: "
                f"{first_line(error)}; it must take a turn's content as a list of parts, image and text"
            ) from None
        return text

    def check_template(self, image: Any) -> None:
        """Raise CheckpointError for a template that leaves pictures out, if the processor's token is all it lacks."""
        question = {"type": "text", "text": "a"}
        text, token = self._by_template([PICTURE, question]), getattr(self.processor, "image_token", None)
        if isinstance(token, str) and text == self._by_template([question]):
            try:
                self.made_inputs([image], [self.encode_prompt(token + text)])
            except Exception:  # something else is at fault, too
                return
            raise CheckpointError(
                f"the chat template of {display(self.source or '')} writes nothing for a picture; copy "
                "chat_template.jinja from the release, or write the image token where a part's type is image"
            )

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as clean text, without the thought before it; "" for a thought that has no end, and says so."""
        ends = [place for place, i in enumerate(ids) if i in self.ends_of_thoughts]
        words = super().decode(ids[ends[-1] + 1 :] if ends else ids)
        begun = not ends and any(i in self.begins_of_thoughts for i in ids[:FIRST_WORDS])
        said = "" if begun else after_thought(words)
        if words.strip() and not said and not self.thought_alone:
            announce("a text is a thought without an end, and empty without it; give more --max_new_tokens")
            self.thought_alone = True
        return said

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:  # noqa: ARG002
        """The text, kept until its image is known; the ids are those around its placeholder, or all behind it."""
        ids = self.tokenizer.encode(text)
        placeholder = placeholder_id(self.lm.config)
        at = ids.index(placeholder) if placeholder in ids else None
        before, after = ((), tuple(ids)) if at is None else (tuple(ids[:at]), tuple(ids[at + 1 :]))
        return TextPrompt(before, after, text)

    def _inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        return {key: value.to(self.device) for key, value in self.made_inputs(images, prompts).items()}

    def made_inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        """What the processor makes of an image and a prompt each, on the CPU.

        Raises DataError for an image and a text that it does not take.
        """
        texts = [prompt.text for prompt in prompts if isinstance(prompt, TextPrompt)]
        given = [[image] for image in images] if self.nested else list(images)
        options: dict[str, Any] = {"padding": True, "padding_side": "left"} if len(texts) > 1 else {}
        start = self.processor.tokenizer.bos_token
        if start and all(text.startswith(start) for text in texts):
            options["add_special_tokens"] = False  # the template has written it already
        if "mm_token_type_ids" in inspect.signature(self.lm.forward).parameters:
            options["return_mm_token_type_ids"] = True  # some processors leave it out where nobody asks
        try:
            made = self.processor(text=texts, images=given, return_tensors="pt", **options)
        except Exception as error:  # theirs, of any kind
            if len(images) > 1:
                raise  # rows are tried one by one
            raise DataError(
                f"{_named(images[0])}{type(self.processor).__name__} takes no image of "
                f"{images[0].width}x{images[0].height} pixels with this text: {first_line(error)}; leave the "
                "image out if it is at fault"
            ) from None
        row = int(made["attention_mask"].sum(1).argmax()) if len(images) > 1 else 0
        self.check_room(made["input_ids"].shape[1], images[row], texts[row])
        dtype = self.compute_dtype
        kept = {key: value for key, value in made.items() if isinstance(value, Tensor) and key != "labels"}
        return {key: value.to(dtype) if value.is_floating_point() else value for key, value in kept.items()}

    def check_room(self, tokens: int, image: Any, text: str) -> None:
        """Raise DataError for an image that with its text makes more tokens than the model has positions for."""
        most = self.positions
        if most is not None and tokens > most:
            raise DataError(
                f"{_named(image)}an image of {image.width}x{image.height} pixels and its prompt take {tokens} "
                f"tokens, and the model has {most} positions; lower the size in the processor's configuration, or "
                f"leave the image or the text out: {plain(text, SHOWN)!r}"
            )


def _named(image: Any) -> str:
    """How a message about an image begins."""
    return f"{name}: " if (name := name_of(image)) else ""


def plain_switches(template: Any) -> dict[str, bool]:
    """The variables with which a chat template is told that no thought is wanted."""
    said = " ".join(template.values()) if isinstance(template, Mapping) else str(template)
    return {name: False for name in SWITCHES if re.search(rf"\b{name}\b", said)}
