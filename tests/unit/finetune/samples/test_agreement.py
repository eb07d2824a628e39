"""What the captions of an image agree on: the two kinds found again, scores that keep their thresholds, refusals."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from common.samples.sets import OBJECTS, OPENED, SUBSENTENCE, groups_of
from common.thresholds import Thresholds
from finetune.samples.agreement import agreed, evidence_of

CUT = Thresholds(23, 32, 27.5)
VOCABULARY = read_vocabulary()
PRESENT, INVENTED = ("dog", "bus", "chair"), ("kite", "spoon", "pizza", "clock")


def caption(image: str, sample: int, things: list[tuple[str, float]]) -> CaptionObjects:
    """A caption that names these things with these scores, in their order."""
    text, mentions = "", []
    for word, score in things:
        start = len(text) + 2
        text += f"A {word}. "
        mentions.append(ObjectMention(word, start, start + len(word), score))
    return CaptionObjects(image, 1, text, tuple(mentions), sample)


def world(images: int, captions: int, seed: int = 0) -> list[CaptionObjects]:
    """What is there is named with 0.95 and scores about 30, what is not with 0.25 and about 25."""
    draw = random.Random(seed)
    out = []
    for number in range(images):
        scores = {w: draw.gauss(30, 5) for w in PRESENT} | {w: draw.gauss(25, 5) for w in INVENTED}
        for sample in range(captions):
            named = [w for w in scores if draw.random() < (0.95 if w in PRESENT else 0.25)]
            out.append(caption(f"{number}.png", sample, [(w, scores[w]) for w in named]))
    return out


def told_apart(records: list[CaptionObjects]) -> float:
    """Share of the mentions on the right side of the hallucinated threshold."""
    mentions = [m for record in records for m in record.objects]
    return sum(CUT.is_hallucinated(m.score or 0.0) == (m.text in INVENTED) for m in mentions) / len(mentions)


def test_the_two_kinds_are_found_as_they_were_drawn() -> None:
    records = world(400, 4)
    moved, kinds = agreed(records, CUT, VOCABULARY)
    assert kinds.named == pytest.approx([0.25, 0.95], abs=0.04)
    assert kinds.mean == pytest.approx([25, 30], abs=0.7) and kinds.spread == pytest.approx([5, 5], abs=0.7)
    assert kinds.share == pytest.approx([1 / 3.85, 2.85 / 3.85], abs=0.03)
    assert told_apart(moved) > 0.93 > 0.8 > told_apart(records)


def test_a_score_is_the_log_odds_in_the_scorers_units() -> None:
    """At the hallucinated threshold 1 to 9, at the grounded one 9 to 1; all the rest of a mention stays."""
    records = world(60, 3)
    moved, kinds = agreed(records, CUT, VOCABULARY)
    odds = kinds.odds(evidence_of(records, VOCABULARY))
    expected = 23 + (np.clip(odds, -13.8155, 13.8155) + np.log(9)) / (2 * np.log(9)) * 9
    assert [m.score for r in moved for m in r.objects] == pytest.approx(expected.tolist(), rel=1e-6)
    for one, other in zip(records, moved, strict=True):
        assert replace(other, objects=one.objects) == one
        assert [replace(m, score=0.0) for m in one.objects] == [replace(m, score=0.0) for m in other.objects]


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_captions_does_not_matter(order: random.Random) -> None:
    records = world(30, 3)
    mixed = list(records)
    order.shuffle(mixed)
    plain, shuffled = (
        {(r.image, r.sample): [m.score for m in r.objects] for r in agreed(captions, CUT, VOCABULARY)[0]}
        for captions in (records, mixed)
    )
    assert all(shuffled[key] == pytest.approx(scores, abs=1e-3) for key, scores in plain.items())


def test_words_of_one_thing_agree_and_what_is_said_again_is_no_positive() -> None:
    records = [*world(100, 3), *(caption("p.png", sample, [("puppy", 31.0), ("dogs", 31.0)]) for sample in range(3))]
    assert evidence_of(records, VOCABULARY).named[-6:].tolist() == [2.0] * 6
    first, again = agreed(records, CUT, VOCABULARY)[0][-1].objects
    assert CUT.is_grounded(first.score or 0.0) and again.score == CUT.sentence


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (world(20, 1), "captions_per_image"),
        ([caption("1.png", 0, []), caption("1.png", 1, [])], "names an object"),
        ([caption("1.png", n, [("dog", 30.0)]) for n in range(3)], "two kinds"),
    ],
)
def test_refusals(records: list[CaptionObjects], words: str) -> None:
    with pytest.raises(DataError, match=words):
        agreed(records, CUT, VOCABULARY)


def test_scores_that_contradict_the_agreement_are_refused() -> None:
    turned = [
        replace(r, objects=tuple(replace(m, score=2 * 27 - (m.score or 0.0)) for m in r.objects)) for r in world(200, 4)
    ]
    with pytest.raises(DataError, match="do not rise"):
        agreed(turned, CUT, VOCABULARY)


def test_opened_spans_begin_with_their_sentence_where_nothing_is_named_before() -> None:
    text = "A dog runs. Additionally, two cats sleep, and a bus waits. The kite flies."
    words = ("dog", "cats", "bus", "kite")
    mentions = tuple(ObjectMention(w, text.index(w), text.index(w) + len(w), 30.0) for w in words)
    record = CaptionObjects("1.png", 1, text, mentions)

    def spans(target: str) -> list[str]:
        return [text[span.start : span.end] for span, _ in groups_of(record, target)]

    assert spans(SUBSENTENCE) == ["A dog runs", " two cats sleep", " and a bus waits", " The kite flies"]
    assert spans(OPENED) == ["A dog runs", " Additionally, two cats sleep", " and a bus waits", " The kite flies"]
    assert spans(OBJECTS) == list(words)


def test_the_script_notes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.format_data import main

    rows = [
        {"image": r.image, "image_id": int(r.image[:-4]), "caption": r.caption, "sample": r.sample,
         "objects": [{"text": m.text, "start": m.start, "end": m.end, "score": m.score} for m in r.objects]}
        for r in world(80, 3)
    ]  # fmt: skip
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--score_data_path", "scores.jsonl", "--pos_neg_data_path", "p.json", "--sentence_data_path", "s.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["format_data.py", *flags, "--agreement", "true", "--repeats", "unlearn"])
    main()
    noted = json.loads(next(tmp_path.glob("p.json.manifest.json")).read_text())
    assert noted["agreement"]["named"][1] > 0.85 > 0.4 > noted["agreement"]["named"][0]
    assert noted["thresholds"] == {"hallucinated": 23.0, "grounded": 32.0, "sentence": 27.5}
