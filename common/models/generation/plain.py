"""The same by transformers' own `generate`, for decoders of another shape; samples are drawn as the trees draw them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.models.generation.asking import Asked, Said, chunks
from common.models.generation.decoding import Decoding, cut_at_stop
from common.models.generation.search.chance import chances, draw
from common.models.text.ids import PromptIds

AT_A_TIME = 32  # rows of a batch where nothing else is said


class Drawn:
    """A logits processor that leaves of each row the one id that its sample draws.

    Args:
        decoding: with a seed; names: of the rows.
        start: length of the prompt in `input_ids`.
    """

    def __init__(self, decoding: Decoding, names: Sequence[str], start: int) -> None:
        assert decoding.seed is not None
        self.decoding, self.start = decoding, start
        self.chance = torch.stack([chances(decoding.seed, name, decoding.max_new_tokens) for name in names])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[r, t], [r, v] -> [r, v], -inf but at one place of each row."""
        chance = self.chance[:, input_ids.shape[1] - self.start].to(scores.device)
        ids = draw(scores, chance, self.decoding.temperature, self.decoding.top_p)
        return torch.full_like(scores, float("-inf")).scatter(1, ids[:, None], 0.0)


def by_transformers(
    lm: Any,
    inputs: Mapping[str, Tensor],
    decoding: Decoding,
    stop_ids: Collection[int],
    names: Sequence[str],
    pad_id: int = 0,
    static: bool = True,
) -> list[list[int]]:
    """New ids of each row of a left-padded batch, end symbol included where it was produced.

    `static`: on a GPU with the static cache and compiled steps, where the model allows them.

    Raises ArgumentError for samples of beams.
    """
    decoding = decoding.checked()
    start = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    config = decoding.config(stop_ids, pad_id)
    if static and lm.device.type == "cuda" and getattr(lm, "_can_compile_fullgraph", False):
        config.cache_implementation = "static"
    processors: list[Any] = []
    if decoding.do_sample:
        processors = [Drawn(decoding, names, start)]
    new = lm.generate(**inputs, generation_config=config, logits_processor=processors)
    return cut_at_stop(new[:, start:], stop_ids)


Continue = Callable[[Sequence[Any], Sequence[PromptIds], Decoding, Sequence[str]], list[list[int]]]


def in_batches(
    one_batch: Continue,
    questions: Sequence[Asked],
    features: Iterable[Any],
    decoding: Decoding,
    most: int | None = None,
) -> Iterator[Said]:
    """As :func:`common.models.generation.growing.grow`, batch by batch in the order of the questions.

    `one_batch`: features, prompts, settings and names of the rows -> new ids of each.
    """
    decoding = decoding.checked()
    rows = (
        (number, place, feature)
        for number, feature in enumerate(features)
        if feature is not None
        for place in range(len(questions[number].prompts))
    )
    for some in chunks(rows, most or AT_A_TIME):
        prompts = [questions[number].prompts[place] for number, place, _ in some]
        names = [questions[number].names[place] for number, place, _ in some]
        ids = one_batch([feature for _, _, feature in some], prompts, decoding, names)
        yield from (Said(number, place, row) for (number, place, _), row in zip(some, ids, strict=True))
