"""The spaCy extractor on captions of real models: how much of what CHAIR finds, and how little that is no object.

EFUF_CAPTIONS_PER_FILE sets how many captions of each file are read (the figures of insight/README.md: all).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from common.files.storage import read_json
from common.objects.spacy_extractor import SpacyExtractor
from tests.data_folder import real_data
from tests.integration.evaluate.chair_words import locate, word_patterns

LABELS = Path(__file__).parent / "data" / "object_precision.json"
PER_FILE = int(os.environ.get("EFUF_CAPTIONS_PER_FILE", "60"))


def texts(path: Path) -> list[str]:
    """The captions of a file."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record.get("caption") or record["text"] for record in records]


@pytest.fixture(scope="module")
def extractor() -> SpacyExtractor:
    """Loaded once."""
    return SpacyExtractor()


def test_at_least_95_percent_of_the_chair_words_are_covered(extractor: SpacyExtractor) -> None:
    """Each listed object, one after the other; one whose place is not found counts as missed."""
    chair, patterns = real_data() / "chair", word_patterns()
    listed, covered = Counter[str](), Counter[str]()
    for path in sorted((chair / "captions").glob("*/*.jsonl")):
        result = chair / "reference_results" / f"{path.parent.name}.{path.name}"
        references = [json.loads(line)["generated"] for line in result.read_text().splitlines()][:PER_FILE]
        captions = texts(path)[:PER_FILE]
        for caption, objects, mentions in zip(captions, references, extractor.extract(captions), strict=True):
            places = [p for p in locate(caption, objects, patterns) if p is not None]
            listed[path.stem] += len(objects)
            covered[path.stem] += sum(any(m.start < p.end() and p.start() < m.end for m in mentions) for p in places)
    share = covered.total() / listed.total()
    print(f"{covered.total()} of {listed.total()} CHAIR words covered: {share:.4f}; worst file", end=" ")
    print(min((covered[name] / listed[name], name) for name in listed))
    assert len(listed) == 14
    assert share >= 0.95


def test_of_what_is_extracted_at_least_95_percent_was_read_to_be_concrete(extractor: SpacyExtractor) -> None:
    """Phrases that were not there when the captions were read count as wrong."""
    folder = real_data() / "chair" / "captions"
    right = total = 0
    for label in read_json(LABELS)["captions"]:
        caption = texts(folder / label["file"])[label["line"] - 1]
        bad = {*label["wrong"], *label["doubtful"]}
        good = Counter(phrase for i, phrase in enumerate(label["phrases"]) if i not in bad)
        (mentions,) = extractor.extract([caption])
        found = Counter(mention.text for mention in mentions)
        total += found.total()
        right += (found & good).total()
    print(f"{right} of {total} phrases concrete: {right / total:.4f}")
    assert total > 500
    assert right / total >= 0.95


def test_the_labels_say_what_the_readme_says() -> None:
    labels = read_json(LABELS)["captions"]
    phrases = sum(len(label["phrases"]) for label in labels)
    wrong, doubtful = (sum(len(label[kind]) for label in labels) for kind in ("wrong", "doubtful"))
    assert (len(labels), phrases, wrong, doubtful) == (50, 552, 5, 6)
