"""Which of an image's captions are learnt whole."""

from __future__ import annotations

import re

import pytest

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from common.thresholds import Thresholds
from finetune.format_data import BEST, FormatArguments, build
from finetune.samples.best import best_of_images, learnt_whole
from finetune.samples.repair import Kept, repair

CUT = Thresholds(20, 30, 25)
SCORES = {"dog": 40.0, "puppy": 40.0, "cat": 32.0, "bus": 24.0, "kite": 10.0}  # of what is there, perhaps, and not
VOCABULARY = read_vocabulary()


def caption(text: str, image: str = "1.png") -> CaptionObjects:
    found = re.finditer("|".join(SCORES), text)
    return CaptionObjects(image, 0, text, tuple(ObjectMention(m.group(), *m.span(), SCORES[m.group()]) for m in found))


def best(*texts: str) -> list[str]:
    return [record.caption for record, _ in best_of_images([caption(text) for text in texts], CUT, VOCABULARY)]


def test_the_most_of_what_is_there_and_the_least_of_what_may_not_be() -> None:
    assert best("A dog.", "A dog and a cat.", "A cat and a dog.") == ["A dog and a cat.", "A cat and a dog."]
    assert best("A dog and a cat. There is a bus.", "A cat and a dog.") == ["A cat and a dog."]


def test_nothing_twice_goes_first_and_words_for_one_thing_are_one() -> None:
    assert best("A dog and a cat. There is a puppy.", "A dog.") == ["A dog."]
    assert best("A dog and a puppy.") == ["A dog and a puppy."]  # where there is none such


def test_a_caption_counts_as_it_is_learnt() -> None:
    repaired = "A dog and a cat. There is a kite."
    learnt = learnt_whole(caption(repaired), CUT)
    assert learnt is not None
    assert (learnt.text, [m.text for m in learnt.mentions]) == ("A dog and a cat.", ["dog", "cat"])
    assert best("A dog.", repaired) == [repaired]
    assert learnt_whole(caption("A kite flies. A dog and a cat."), CUT) is None  # its first sentence would go
    assert best("A kite flies. A dog and a cat.", "A dog.") == ["A dog."]
    assert best("Nothing is here.", "A kite.", "A bus.") == []  # neither can be learnt


def test_of_equals_those_that_are_as_long_as_their_mean() -> None:
    short, middle, long = "A dog.", "There is a dog.", "There is a dog here now."  # 2, 4 and 6 words
    assert best(short, middle, long) == [middle, long]
    assert best(long, short) == [long]
    repaired = "There is a dog. There is a kite. It is red and large."  # of which four words are learnt
    assert best(repaired, long) == [long]
    assert best(repaired, middle) == [repaired, middle]


def test_every_image_by_itself() -> None:
    records = [caption("A dog.", "1.png"), caption("A dog and a cat.", "2.png"), caption("A cat.", "1.png")]
    found = best_of_images(records, CUT, VOCABULARY)
    assert [record for record, _ in found] == [records[0], records[2], records[1]]


def test_what_is_chosen_as_repaired_is_not_repaired_again(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("A dog and a cat. There is a kite.", "A dog. There is a kite.", "A kite flies.", "A cat and a dog.")
    repaired: list[str] = []

    def counted(record: CaptionObjects, cut: Thresholds) -> Kept | None:
        repaired.append(record.caption)
        return repair(record, cut)

    monkeypatch.setattr("finetune.samples.best.repair", counted)
    monkeypatch.setattr("finetune.samples.repair.repair", counted)
    samples, found = build([caption(text) for text in texts], CUT, FormatArguments(whole_captions=BEST))
    assert [sample.sentence for sample in samples.sentences] == [texts[0], texts[3]]
    assert [sample.sentence for sample in found.samples] == ["A dog and a cat."]
    assert (found.counts.low_captions, found.counts.repaired, found.counts.cut_sentences) == (1, 1, 1)
    assert repaired == [*texts[:3]]
