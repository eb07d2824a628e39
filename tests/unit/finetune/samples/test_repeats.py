"""What a caption introduces again, and what becomes of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from common.samples.sets import build_samples
from common.thresholds import Thresholds
from finetune.samples.repair import build_repaired
from finetune.samples.repeats import introduced_again, repeats_lowered

CUT = Thresholds(23, 32, 27.5)
VOCABULARY = read_vocabulary()


def caption(text: str) -> CaptionObjects:
    """Every thing of it well supported."""
    found = re.finditer(r"dogs?|puppy|cat|bus|scissors|women", text)
    return CaptionObjects("1.png", 1, text, tuple(ObjectMention(m.group(), *m.span(), 40.0) for m in found))


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("A dog and a cat. In the background, there are two dogs.", ["dogs"]),
        ("A dog runs. The scene also includes a puppy.", ["puppy"]),
        ("A pair of scissors. A small pair of scissors is nearby.", ["scissors"]),
        ("A dog, a bus and a dog.", ["dog"]),
        ("A dog runs. The dog is red. Its dog bowl is here.", []),
        ("A dog runs. Another dog sleeps.", []),
        ("A dog runs with a cat. The two dogs sleep.", []),
        ("A dog runs. It chases dogs.", []),
        ("There is a bus. A cat.", []),
    ],
)
def test_what_is_introduced_again(text: str, again: list[str]) -> None:
    found = introduced_again(caption(text), VOCABULARY)
    assert [m.text for m in sorted(found, key=lambda m: m.start)] == again


def test_it_is_unlearnt_cut_out_and_in_no_whole_caption() -> None:
    records = [caption("A dog runs. There is a cat and a dog."), caption("A dog. The dog is red.")]
    least = replace(records[0], objects=tuple(replace(m, score=0.0) for m in records[0].objects))
    assert repeats_lowered([least], CUT, VOCABULARY)[0] == [least]  # what is lower stays
    lowered, again = repeats_lowered(records, CUT, VOCABULARY)
    assert again == 1 and lowered[1] == records[1] and lowered[0].caption == records[0].caption
    assert [CUT.is_hallucinated(m.score or 0) for m in lowered[0].objects] == [False, False, True]
    assert [s.sentence for s in build_repaired(lowered, CUT).samples] == ["A dog runs. There is a cat."]
    good = [s.sentence for s in build_samples(lowered, CUT).sentences if CUT.is_good_sentence(s.mean, s.min)]
    assert good == [records[1].caption]
