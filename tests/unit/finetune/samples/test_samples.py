"""Samples from scored objects: scores of spans, conflicts, repetition, counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.files.records import CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.samples.sets import build_samples, span_score
from common.thresholds import Thresholds

CUT = Thresholds(hallucinated=23, grounded=32, sentence=27.5)


def record(caption: str, *scored: tuple[str, float], image: str = "1.jpg", sample: int = 0) -> CaptionObjects:
    """Objects at their first place after the one before."""
    mentions, at = [], 0
    for text, score in scored:
        start = caption.index(text, at)
        at = start + len(text)
        mentions.append(ObjectMention(text, start, at, score))
    return CaptionObjects(image, 1, caption, tuple(mentions), sample)


def test_published_layout_of_a_span() -> None:
    samples = build_samples([record("A dog runs, and a cat sleeps.", ("dog", 35), ("cat", 20))], CUT)
    assert samples.spans == (
        SpanSample("1.jpg", "A dog runs", 0, 35),
        SpanSample("1.jpg", "A dog runs, and a cat sleeps", 11, 20),
    )
    last = samples.spans[1]
    assert last.sentence[last.position :] == " and a cat sleeps"


def test_sentences_hold_mean_and_least_of_the_whole_caption() -> None:
    samples = build_samples([record("A dog, a cat.", ("dog", 35), ("cat", 25)), record("Nothing.", image="2.jpg")], CUT)
    assert samples.sentences == (SentenceSample("1.jpg", "A dog, a cat.", 30, 25),)
    assert (samples.counts.captions, samples.counts.captions_with_objects, samples.counts.sentences) == (2, 1, 1)


def test_d1_an_object_selects_its_own_clause_not_one_that_holds_its_letters() -> None:
    samples = build_samples([record("A red carpet, behind it a blue car.", ("car.", 20))], CUT)
    assert samples.counts.objects_over_boundaries == 1  # "car." reaches over the boundary
    caption = "A red carpet, behind it a blue car."
    start = caption.index("car.")
    mention = ObjectMention("car", start, start + 3, 20.0)
    samples = build_samples([CaptionObjects("1.jpg", 1, caption, (mention,))], CUT)
    assert [s.sentence[s.position :] for s in samples.spans] == [" behind it a blue car"]


def test_d2_every_mention_counts_and_equal_clauses_stay_apart() -> None:
    caption = "A dog. A cat. A dog."
    samples = build_samples([record(caption, ("dog", 35), ("cat", 20), ("dog", 35))], CUT)
    assert [(s.sentence, s.position) for s in samples.spans] == [("A dog", 0), ("A dog. A cat", 6), (caption[:-1], 13)]


def test_d3_conflicting_objects_of_one_clause_are_dropped_and_counted() -> None:
    samples = build_samples([record("A dog and a cat, a bus.", ("dog", 35), ("cat", 20), ("bus", 21))], CUT)
    assert [s.sentence[s.position :] for s in samples.spans] == [" a bus"]
    assert (samples.counts.spans, samples.counts.conflicts, samples.counts.negatives) == (2, 1, 1)


def test_d3_a_span_stands_once_whatever_the_number_of_objects_and_samples() -> None:
    one = record("A dog and a bone, end.", ("dog", 35), ("bone", 30))
    again = record("A dog and a bone, other.", ("dog", 35), ("bone", 30), sample=1)
    samples = build_samples([one, again], CUT)
    assert samples.spans == (SpanSample("1.jpg", "A dog and a bone", 0, 35),)
    assert samples.counts.repeated_spans == 1


SCORES = st.lists(st.sampled_from([10.0, 22.9, 23.0, 25.0, 32.0, 32.1, 50.0]), min_size=1, max_size=5)


@given(SCORES)
def test_d3_cutting_the_written_score_gives_exactly_the_sets(scores: list[float]) -> None:
    hallucinated, grounded = any(s < 23 for s in scores), any(s > 32 for s in scores)
    score = span_score(scores, CUT)
    if hallucinated and grounded:
        assert score is None
    else:
        assert score is not None
        assert CUT.is_hallucinated(score) == hallucinated
        assert CUT.is_grounded(score) == grounded
        assert score in scores


def test_target_objects_is_just_the_words_of_each_mention() -> None:
    samples = build_samples([record("A dog and a cat.", ("dog", 35), ("cat", 20))], CUT, "objects")
    assert [s.sentence[s.position :] for s in samples.spans] == ["dog", "cat"]
    assert samples.counts.conflicts == 0


@given(st.lists(st.lists(st.floats(0, 60), min_size=1, max_size=4), min_size=1, max_size=5))
def test_counts_add_up(clauses: list[list[float]]) -> None:
    """Every span with an object is kept, repeated or in conflict; the kept ones fall into three sets."""
    caption, scored = "", []
    for i, scores in enumerate(clauses):
        words = [f"thing{i}x{j}" for j in range(len(scores))]
        scored += list(zip(words, scores, strict=True))
        caption += " ".join(words) + ". "
    counts = build_samples([record(caption, *scored)], CUT).counts
    assert counts.spans == len(clauses)
    assert counts.positives + counts.negatives + counts.uncertain == counts.spans - counts.conflicts
    assert counts.objects == len(scored)
