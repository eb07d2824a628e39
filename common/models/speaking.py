"""How a model is asked: from images and prompts to texts, whatever makes them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from common.errors import DataError, plain
from common.models.body import ModelBody
from common.models.generation.asking import Asked, Said, chunks, same_objects, sample_names
from common.models.generation.decoding import Decoding
from common.models.generation.growing import grow
from common.models.generation.plain import by_transformers, in_batches
from common.models.generation.tree.llama import why_not
from common.models.lanes import ahead
from common.models.text.ids import PromptIds
from common.models.text.sequence import check_lengths, embed_rows, pad_rows
from common.models.text.text_side import TextSide

SEEN_TOGETHER = 16  # images in one pass of the encoder
AHEAD = 64  # images that are opened before they are needed
SHOWN = 100  # characters of a text in a message
MOST_THREADS = 4  # that open them: more would hold up the thread that tells the GPU what to do


class Speaking(TextSide, ModelBody):
    """The generating side of a model. `stop_ids` end a generated text."""

    stop_ids: frozenset[int]

    def preprocess(self, images: Sequence[Any]) -> Any:
        """What the encoder gets of PIL images."""
        raise NotImplementedError

    def image_features(self, pixels: Any) -> Any:
        """Input embeddings of the decoder: [n, m, d]."""
        raise NotImplementedError

    def generate(
        self,
        images: Sequence[Any],
        texts: Sequence[str],
        num_beams: int = 1,
        max_new_tokens: int = 200,
        length_penalty: float = 0.0,
        **sampling: Any,
    ) -> list[str]:
        """Texts that the model gives for (image, text input) pairs; see :meth:`generate_ids`."""
        ids = self.generate_ids(images, texts, num_beams, max_new_tokens, length_penalty, **sampling)
        return [self.decode(row) for row in ids]

    def generate_ids(
        self,
        images: Sequence[Any],
        texts: Sequence[str],
        num_beams: int = 1,
        max_new_tokens: int = 200,
        length_penalty: float = 0.0,
        **sampling: Any,
    ) -> list[list[int]]:
        """New token ids of each sample, end symbol included where it was produced.

        Texts of one image (one and the same object) share the work for it.

        Args:
            sampling: do_sample, temperature, top_p, seed. With a seed, a sample depends on it, on its image and
                text, and on how many times that pair stood before it; on nothing else of the call.
        """
        check_lengths(images=images, texts=texts)
        if not texts:
            return []
        decoding = Decoding(num_beams, max_new_tokens, length_penalty, **sampling)
        names = sample_names(images, texts) if decoding.do_sample else [""] * len(texts)
        prompts = [self.encode_prompt(text, for_generation=True) for text in texts]
        places = same_objects(images)
        questions = [Asked(tuple(prompts[i] for i in some), tuple(names[i] for i in some)) for some in places]
        found: list[list[int]] = [[] for _ in texts]
        for said in self.answers(
            questions, self.features_of([partial(_given, images[some[0]]) for some in places]), decoding
        ):
            found[places[said.asked][said.place]] = said.ids
        return found

    def speak(
        self,
        images: Sequence[Callable[[], Any]],
        texts: Sequence[Sequence[str]],
        names: Sequence[Sequence[str]],
        decoding: Mapping[str, Any],
        most: int | None = None,
    ) -> Iterator[tuple[int, int, str]]:
        """Say something to every text about every image: (image, text, what was said), as answers end.

        Args:
            images: functions that open them, called ahead of time, perhaps in threads; None is an image that cannot be
                seen, and nothing is said about it.
            texts: whole text inputs about each image; names: of each, for the random numbers of a sample.
            decoding: of :class:`Decoding`.
            most: answers that are made at a time; None: as many as are useful and fit into the memory.
        """
        encode = functools.cache(lambda text: self.encode_prompt(text, for_generation=True))
        questions = [Asked(tuple(map(encode, t)), tuple(n)) for t, n in zip(texts, names, strict=True)]
        for said in self.answers(questions, self.features_of(images), Decoding(**decoding), most):
            yield said.asked, said.place, self.decode(said.ids)

    def features_of(self, images: Iterable[Callable[[], Any]]) -> Iterator[Any]:
        """Features [m, d] of each image that is opened; None stays None.

        The encoder sees several at a time. On a GPU threads open these, cut them to size and lay them side by side
        while it works, and neither waits for the other.
        """
        gpu = self.device.type == "cuda"

        def look(some: list[Callable[[], Any]]) -> tuple[list[bool], Tensor | None]:
            opened = [open_image() for open_image in some]
            seen = [image for image in opened if image is not None]
            there = [image is not None for image in opened]
            if not seen:
                return there, None
            pixels = self.preprocess(seen).to(self.compute_dtype)
            return there, pixels.pin_memory() if gpu else pixels

        threads = min(MOST_THREADS, os.cpu_count() or 1) if gpu else 0
        for there, pixels in ahead(look, chunks(images, SEEN_TOGETHER), threads, AHEAD // SEEN_TOGETHER):
            features = iter(() if pixels is None else self.image_features(pixels))
            yield from (next(features) if seen else None for seen in there)

    def answers(
        self, questions: Sequence[Asked], features: Iterable[Any], decoding: Decoding, most: int | None = None
    ) -> Iterator[Said]:
        """Answers to all prompts, in the order in which they end.

        Args:
            features: of each question's image, taken when there is room; None: no answer to it.
            most: answers that are made at a time; None: as many as are useful and fit into the memory.

        Raises ResourceError if not even one image fits into the memory, ArgumentError for samples of beams, DataError
        for a prompt that the model has too few positions for.
        """
        features = self._with_room(questions, features)
        if why_not(self.lm.model) is None:
            trunk, head = self.lm.model, self.lm.get_output_embeddings()
            return grow(trunk, head, questions, features, decoding, self.stop_ids, most)
        return in_batches(self.continue_batch, questions, features, decoding, most)

    def _with_room(self, questions: Iterable[Asked], features: Iterable[Any]) -> Iterator[Any]:
        """The features, each looked at: beyond its positions a model was never trained, and answers all the same."""
        most = self.positions
        for asked, seen in zip(questions, features, strict=False):
            for prompt in asked.prompts if seen is not None else ():
                tokens = prompt.length(len(seen))
                if most is not None and tokens > most:
                    text = plain(self.decode(list(prompt.before + prompt.after)), SHOWN)
                    raise DataError(
                        f"an image and its prompt take {tokens} tokens, and the model has {most} positions; leave the "
                        f"text out: {text!r}"
                    )
            yield seen

    @torch.no_grad()
    def continue_batch(
        self, features: Any, prompts: Sequence[PromptIds], decoding: Decoding, names: Sequence[str]
    ) -> list[list[int]]:
        """New ids of one batch by transformers' own `generate`; rows are left-padded.

        `features`: [m, d] of each row; `names`: of the rows' samples.
        """
        rows = embed_rows(self.lm.get_input_embeddings(), features, prompts, [()] * len(prompts))
        embeds, mask = pad_rows(rows, left=True)
        inputs = {"inputs_embeds": embeds, "attention_mask": mask}
        return by_transformers(self.lm, inputs, decoding, self.stop_ids, names)


def _given(image: Any) -> Any:
    return image
