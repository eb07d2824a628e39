"""Which extractor found the objects of captions: noted beside them, and carried on to everything made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.files.json_text import as_record
from common.identity import companions_hash, content_hash
from common.manifest import manifest_path, noted_beside
from common.objects.extractors import ObjectExtractor, build_extractor
from common.objects.llm_extractor import extractor_files
from common.paths import display

KEY = "extractor"  # in a manifest
LONGEST_ANSWER = 200  # tokens of a language model


@dataclass(frozen=True)
class NotedExtractor:
    """An extractor by name and, of a language model, by its files.

    Attributes:
        extractor: `spacy` or `llm`; the others are None for spaCy.
        extractor_model: as it was given; extractor_model_hash, extractor_model_files: of its content.
        extractor_max_new_tokens: longest answer.
    """

    extractor: str = "spacy"
    extractor_model: str | None = None
    extractor_model_hash: str | None = None
    extractor_model_files: str | None = None
    extractor_max_new_tokens: int | None = None

    @classmethod
    def of(cls, name: str, model: str | None, max_new_tokens: int = LONGEST_ANSWER) -> NotedExtractor:
        """The note of an extractor that is given by name."""
        if name == "spacy":
            return cls(name, model)  # a model, which it does not take, is refused where it is built
        folder = extractor_files(model) if model else None
        return cls(name, model, content_hash(folder), companions_hash(folder), max_new_tokens)

    def build(self, device: str) -> ObjectExtractor:
        """Load it. Raises ArgumentError, CheckpointError, MissingDependencyError."""
        most = self.extractor_max_new_tokens or LONGEST_ANSWER
        return build_extractor(self.extractor, self.extractor_model, device, most)

    def to_json(self) -> dict[str, Any]:
        """For a manifest, and for settings; of spaCy the name alone."""
        return {name: value for name, value in asdict(self).items() if value is not None or self.extractor != "spacy"}

    def other_than(self, noted: NotedExtractor) -> str | None:
        """In what the two differ, as 'extractor spacy, not llm'; None if they find the same. Folders by content."""
        passed = {"extractor_model"} if self.extractor_model_hash else set()
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(noted, field.name)
            if field.name not in passed and ours != theirs:
                return f"{field.name} {ours}, not {theirs}"
        return None


def extractor_of_objects(data: Path | str) -> NotedExtractor | None:
    """The extractor that the manifest beside a file of objects, scores or samples notes.

    Raises DataError for a note of something else.
    """
    value = noted_beside(data).get(KEY)
    return None if value is None else as_record(value, NotedExtractor, f"{display(manifest_path(data))}: {KEY}")
