"""Published samples -> captions with spans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.files.records import SentenceSample, SpanSample
from common.thresholds import Thresholds
from finetune.corpus.grouping import filter_samples, group
from finetune.corpus.records import NEG, POS, SENT

CAPTION = "A dog, and a cat, on a red bench."
CUTS = (0, 6, 17, len(CAPTION))
LIMITS = Thresholds()


def sample(number: int, score: float, image: str = "1.jpg") -> SpanSample:
    """The sub-sentence of that number."""
    return SpanSample(image, CAPTION[: CUTS[number + 1]], CUTS[number], score)


def test_prefixes_of_one_caption_become_its_spans() -> None:
    """Whatever the order in the file; texts of the spans are those of the samples."""
    sentences = [SentenceSample("1.jpg", CAPTION, 30.0, 25.0)]
    (caption,) = group(filter_samples([sample(2, 35.0), sample(0, 33.0), sample(1, 20.0)], sentences, LIMITS))
    texts = [(s.kind, CAPTION[s.start : s.end]) for s in caption.spans]
    assert texts == [(POS, "A dog,"), (SENT, CAPTION), (NEG, " and a cat,"), (POS, " on a red bench.")]


def test_a_sentence_that_another_caption_continues_keeps_its_own_end() -> None:
    """The end symbol must follow it, so it cannot be a span of the longer caption."""
    sentences = [SentenceSample("1.jpg", CAPTION[:17], 30.0, 25.0), SentenceSample("1.jpg", CAPTION, 30.0, 25.0)]
    captions = group(filter_samples([sample(2, 35.0)], sentences, LIMITS))
    assert [(c.caption, len(c.spans)) for c in captions] == [(CAPTION[:17], 1), (CAPTION, 2)]


def test_images_are_kept_apart() -> None:
    """The same text of two images makes two captions."""
    captions = group(filter_samples([sample(0, 33.0), sample(0, 20.0, "2.jpg")], [], LIMITS))
    assert [(c.image, c.spans[0].kind) for c in captions] == [("1.jpg", POS), ("2.jpg", NEG)]


def test_d3_a_span_that_is_positive_and_negative_is_left_out_and_counted() -> None:
    """Two objects of one clause can disagree; learning and unlearning it at once teaches nothing."""
    filtered = filter_samples([sample(1, 35.0), sample(1, 20.0), sample(0, 33.0), sample(2, 27.0)], [], LIMITS)
    assert [(kind, s.position) for kind, s in filtered.spans] == [(POS, 0)]
    assert (filtered.conflicts, filtered.between) == (2, 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([20.0, 35.0]), st.sampled_from(["1", "2"]))))
def test_no_sample_is_lost_or_invented(entries: list[tuple[int, float, str]]) -> None:
    """Each sample that passes the filter is one span whose context and target are the sample's."""
    samples = [sample(number, score, image) for number, score, image in entries]
    filtered = filter_samples(samples, [], LIMITS)
    found = sorted(
        (c.image, c.caption[: s.start], c.caption[s.start : s.end], s.score) for c in group(filtered) for s in c.spans
    )
    wanted = sorted((s.image, s.sentence[: s.position], s.sentence[s.position :], s.score) for _, s in filtered.spans)
    assert found == wanted
