"""What an object extractor is, and how one is found by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from common.errors import ArgumentError
from common.files.records import ObjectMention

EXTRACTORS = ("spacy", "llm")


class ObjectExtractor(Protocol):
    """Finds the concrete things that captions name."""

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        """Yield, for each caption, every mention of an object in order of appearance, without scores."""


def build_extractor(name: str, model: str | None, device: str, max_new_tokens: int) -> ObjectExtractor:
    """Load an extractor.

    Args:
        name: `spacy` or `llm`.
        model: folder or hub name of the causal LM; for `llm` only, and needed there.
        device, max_new_tokens: of the LM.

    Raises ArgumentError for an unknown name or a model that does not fit it.
    """
    if (name == "llm") != (model is not None):
        wanted = "needs --extractor_model PATH" if name == "llm" else "takes no --extractor_model"
        raise ArgumentError(f"--extractor {name} {wanted}")
    if name == "spacy":
        from common.objects.spacy_extractor import SpacyExtractor

        return SpacyExtractor()
    if name == "llm" and model is not None:
        from common.objects.llm_extractor import LlmExtractor

        return LlmExtractor.load(model, device, max_new_tokens)
    raise ArgumentError(f"--extractor '{name}' is unknown; known: {', '.join(EXTRACTORS)}")
