"""Answers of `auto` by transformers' own `generate`, and what is done where it does not go through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.errors import ArgumentError, UserError, first_line
from common.models.generation.decoding import Decoding
from common.models.generation.plain import by_transformers
from common.models.packed.foreign.handing import handed_over
from common.models.text.ids import PromptIds
from common.progress import announce

if TYPE_CHECKING:
    from common.models.base import CaptionModel as Mixed
else:
    Mixed = object  # `Auto` brings the model itself

OF_TEXT = frozenset({"inputs_embeds", "attention_mask", "position_ids"})  # what any decoder is called with


class GeneratingAuto(Mixed):
    """The generating side of `auto`.

    Attributes:
        batches: whether processor and model take several images at once.
        by_embeddings: whether generate is given a row's embeddings in place of its image.
    """

    processor: Any
    compiles_steps: bool
    batches: bool = True
    by_embeddings: bool = False

    def trunk(self) -> Any:
        """The decoder, without head."""
        raise NotImplementedError

    def _inputs(self, images: Sequence[Any], prompts: Sequence[PromptIds]) -> dict[str, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def continue_batch(
        self, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, names: Sequence[str]
    ) -> list[list[int]]:
        """New ids of a left-padded batch; `features`: the images themselves.

        Rows are continued one by one where processor or model take no batch of several images, which is said.

        Raises ArgumentError where generate takes a row in no way.
        """
        if len(prompts) > 1 and self.batches:
            try:
                return self._continued(self._inputs(list(features), prompts), decoding, names)
            except (UserError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # theirs, of any kind; a fault of another kind is met again below
                announce(f"rows are continued one by one: {first_line(error)}")
                self.batches = False
        rows = zip(features, prompts, names, strict=True)
        return [self._alone(self._inputs([image], [prompt]), decoding, name) for image, prompt, name in rows]

    def _alone(self, inputs: dict[str, Tensor], decoding: Decoding, name: str) -> list[int]:
        """New ids of one row; by its embeddings from the first one on of which beams do not take the image."""
        try:
            return self._continued(self._embedded(inputs) if self.by_embeddings else inputs, decoding, [name])[0]
        except (UserError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # theirs, of any kind
            if decoding.num_beams > 1 and not self.by_embeddings and self._embedded(inputs):
                self.by_embeddings = True
                return self._alone(inputs, decoding, name)
            beams = f" with {decoding.num_beams} beams; try --generate_num_beams 1" if decoding.num_beams > 1 else ""
            raise ArgumentError(
                f"transformers' own generate fails for {type(self.lm).__name__}: {first_line(error)}{beams}"
            ) from None

    def _embedded(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A row's embeddings, its image in them; nothing where the decoder is given more than a text's."""
        handed = handed_over(self.lm, self.trunk(), inputs)
        embeds, places = handed.get("inputs_embeds"), handed.get("position_ids")
        if embeds is None or {key for key, value in handed.items() if value is not False} - OF_TEXT:
            return {}
        ones = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        plain = places is None or torch.equal(places, ones.cumsum(1) - 1)
        return {"inputs_embeds": embeds, "attention_mask": ones} if plain else {}

    def _continued(self, inputs: dict[str, Tensor], decoding: Decoding, names: Sequence[str]) -> list[list[int]]:
        pad = self.processor.tokenizer.pad_token_id
        pad_id = self.eos_id if pad is None else pad
        return by_transformers(self.lm, inputs, decoding, self.stop_ids, names, pad_id, self.compiles_steps)
