"""Asking a model about many images: what it has said comes back in the order of the questions.

A model that grows trees takes an image when there is room for it, and nothing that it says depends on what is asked
beside it; others are asked batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from common.files.images import ImageFolder

BATCH = 32  # texts of one generate call, where nothing else is said


class Generator(Protocol):
    """What asking in batches needs of a model; every :class:`common.models.base.CaptionModel` is one."""

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input."""

    def generate(self, images: Sequence[Any], texts: Sequence[str], **decoding: Any) -> list[str]:
        """One text for each (image, text input) pair."""


@runtime_checkable
class Speaker(Protocol):
    """A model that is asked about a stream of images; every :class:`common.models.base.CaptionModel` is one."""

    def speak(
        self,
        images: Sequence[Callable[[], Any]],
        texts: Sequence[Sequence[str]],
        names: Sequence[Sequence[str]],
        decoding: Mapping[str, Any],
        most: int | None = None,
    ) -> Iterator[tuple[int, int, str]]:
        """Number of the image, number of its text, and what was said, in the order in which answers end."""


@dataclass(frozen=True)
class Request:
    """One image and what is asked about it.

    Attributes:
        image: its name in the folder.
        texts: whole text inputs.
        names: one a text, for the random numbers of a sample.
    """

    image: str
    texts: tuple[str, ...]
    names: tuple[str, ...]


def ask(
    model: Speaker,
    images: ImageFolder,
    requests: Sequence[Request],
    decoding: Mapping[str, Any],
    most: int | None,
) -> Iterator[list[str] | None]:
    """What is said to each request, in their order; None where the image cannot be read (`images` remembers why).

    Args:
        decoding: settings of the generation.
        most: answers that are made at a time; None: as many as are useful and fit into the memory.
    """
    found: list[dict[int, str]] = [{} for _ in requests]
    openers = [partial(images.open, request.image) for request in requests]
    texts, names = [r.texts for r in requests], [r.names for r in requests]
    given = 0
    for number, place, text in model.speak(openers, texts, names, decoding, most):
        found[number][place] = text
        while given < len(requests) and (
            len(found[given]) == len(texts[given]) or (given < number and requests[given].image in images.lost)
        ):
            yield _in_order(found[given])
            given += 1
    for rest in found[given:]:
        yield _in_order(rest)


def _in_order(said: Mapping[int, str]) -> list[str] | None:
    return [said[place] for place in sorted(said)] or None
