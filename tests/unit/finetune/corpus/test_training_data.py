"""From files to items: split, filters, unreadable images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.errors import ArgumentError, DataError
from common.files.images import ImageFolder
from common.files.records import SentenceSample, SpanSample
from common.thresholds import Thresholds
from finetune.corpus.corpus import build_corpus, split_images
from finetune.corpus.records import NEG, POS, SENT
from finetune.corpus.samples import Samples
from tests.unit.finetune.corpus.test_training_items import Words

KINDS = (POS, NEG, SENT)


@given(st.sets(st.text("abc", min_size=1), min_size=2), st.floats(0.01, 0.9), st.integers(0, 9))
def test_t11_split_is_a_partition_that_the_seed_fixes(images: set[str], share: float, seed: int) -> None:
    """Whatever the order of the images; both sides are not empty."""
    train, valid = split_images(images, share, seed)
    assert sorted([*train, *valid]) == sorted(images) and train and valid
    assert split_images(sorted(images, reverse=True), share, seed) == (train, valid)


def test_share_of_the_split() -> None:
    """5 % of 100; none for 0; nonsense is named."""
    names = [str(i) for i in range(100)]
    assert [len(side) for side in split_images(names, 0.05, 0)] == [95, 5]
    assert split_images(names, 0.05, 0) != split_images(names, 0.05, 1)
    assert split_images(names, 0.0, 0)[1] == []
    with pytest.raises(ArgumentError, match="--valid_data_split is 1"):
        split_images(names, 1.0, 0)


def world(folder: Path, count: int, neg_score: float = 20.0) -> tuple[Samples, ImageFolder]:
    """`count` images with a positive and a negative span and a sentence each."""
    spans, sentences = [], []
    for i in range(count):
        Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
        spans += [SpanSample(f"{i}.png", "a dog,", 0, 35.0), SpanSample(f"{i}.png", "a dog, a cat", 6, neg_score)]
        sentences.append(SentenceSample(f"{i}.png", "a dog, a cat", 30.0, 25.0))
    return Samples(tuple(spans), tuple(sentences)), ImageFolder(folder)


def test_counts_and_sides(tmp_path: Path) -> None:
    """No image is on both sides; counts are those of the items."""
    corpus = build_corpus(*world(tmp_path, 10), Words(), Thresholds(), KINDS, (0.2, 0))
    assert {i.image for i in corpus.train} == set(corpus.train_images)
    assert {i.image for i in corpus.valid} == set(corpus.valid_images)
    assert (corpus.counts["training_captions"], corpus.counts["training_samples"]) == (8, 24)
    assert corpus.counts["validation_samples"] == 6
    assert "8 images, 8 captions, 24 samples" in corpus.lines()[0] and "3.0 a caption" in corpus.lines()[0]


def test_t12_an_empty_set_is_an_error_with_the_counts_of_each_filter(tmp_path: Path) -> None:
    """Not a run of no steps that "finishes" and saves."""
    samples, images = world(tmp_path, 3, neg_score=25.0)
    with pytest.raises(DataError, match="negative set is empty: 6 read, 0 with score below --hal_clip_thres 23"):
        build_corpus(samples, images, Words(), Thresholds(), KINDS, (0.3, 0))
    corpus = build_corpus(samples, images, Words(), Thresholds(), (POS, SENT), (0.3, 0))
    assert corpus.counts["between_thresholds"] == 3


def test_unreadable_images_are_left_out_up_to_one_percent(tmp_path: Path) -> None:
    """One of 100 is counted and remembered, two are an error."""
    samples, images = world(tmp_path, 100)
    (tmp_path / "7.png").write_bytes(b"not an image")
    corpus = build_corpus(samples, images, Words(), Thresholds(), KINDS, (0.1, 0))
    assert "7.png" not in {*corpus.train_images, *corpus.valid_images}
    assert corpus.counts["lost_images"] == 1 and list(images.lost) == ["7.png"]
    (tmp_path / "8.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 100 images"):
        build_corpus(samples, ImageFolder(tmp_path), Words(), Thresholds(), KINDS, (0.1, 0))


def test_a_sample_of_an_image_that_is_not_there(tmp_path: Path) -> None:
    """Named, with the number missing."""
    samples, images = world(tmp_path, 4)
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png is not in .*1 missing"):
        build_corpus(samples, images, Words(), Thresholds(), KINDS, (0.1, 0))
