"""The scoring loop with a scorer whose numbers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import DataError
from common.files.images import ImageFolder
from common.files.record_files import caption_key, read_objects
from common.files.records import CaptionObjects, ObjectMention
from common.files.storage import ResumableLines
from common.relevance.clip_scorer import load_scorer
from common.relevance.scoring import RelevanceJob, ScoreSettings, is_scorable, without_unscorable
from common.relevance.windows import WindowGrid, cut_windows, object_scores, whole_image, window_grid
from tests.clip_folder import make_clip_folder


@dataclass
class RedScorer:
    """Similarity of every window with any text is its share of pure red pixels; remembers what it was asked."""

    texts: list[list[str]] = field(default_factory=list)
    images: list[int] = field(default_factory=list)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """One number a text: 1."""
        self.texts.append(list(texts))
        return torch.ones(len(texts), 1)

    def embed_images(self, images: Sequence[Image.Image], grids: Sequence[WindowGrid]) -> list[torch.Tensor]:
        """One number a window: its mean red."""
        self.images.append(len(images))
        pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255 for image in images]
        return [cut_windows(p, g)[:, 0].mean(dim=(1, 2))[:, None] for p, g in zip(pixels, grids, strict=True)]


def record(image: str, *names: str, sample: int = 0) -> CaptionObjects:
    """A caption that is the list of its objects."""
    caption, mentions = " ".join(names), []
    for name in names:
        start = mentions[-1].end + 1 if mentions else 0
        mentions.append(ObjectMention(name, start, start + len(name)))
    return CaptionObjects(image, int(image.split(".")[0]), caption, tuple(mentions), sample)


@pytest.fixture
def folder(tmp_path):
    """Four images: all red, half red (100 x 100), black, and one that is cut short."""
    path = tmp_path / "images"
    path.mkdir()
    Image.new("RGB", (192, 192), (255, 0, 0)).save(path / "1.png")
    half = Image.new("RGB", (100, 100), (255, 0, 0))
    half.paste((0, 0, 0), (0, 0, 50, 100))
    half.save(path / "2.png")
    Image.new("RGB", (300, 240), (0, 0, 0)).save(path / "3.png")
    (path / "4.png").write_bytes((path / "3.png").read_bytes()[:60])
    return path


def run(folder, records, out, scorer=None, group=2, **options):
    """Score into `out` and return scorer and images."""
    images, scorer = ImageFolder(folder), scorer or RedScorer()
    with ResumableLines(out, caption_key) as lines:
        RelevanceJob(scorer, images, ScoreSettings(), group).run(records, lines, **options)
    return scorer, images


def test_prompt_text():
    assert ScoreSettings().text("Wooden  Table") == "A photo containing wooden table."
    assert ScoreSettings(prompt="{object} {x}").text("dog") == "dog {x}"


def test_scores_are_a_hundred_times_the_similarity(folder, tmp_path):
    run(folder, [record("1.png", "dog", "cat"), record("2.png", "dog"), record("3.png", "dog")], tmp_path / "s.jsonl")
    scores = [[m.score for m in r.objects] for r in read_objects(tmp_path / "s.jsonl")]
    assert scores == [[100.0, 100.0], [50.0], [0.0]]  # the small second image counts as a whole (d11)


def test_d10_one_window_and_one_object(folder, tmp_path):
    run(folder, [record("1.png", "dog")], tmp_path / "s.jsonl")
    assert read_objects(tmp_path / "s.jsonl")[0].objects[0].score == 100.0


def test_d9_objects_longer_than_ten_words_and_empty_ones_are_missing_and_counted():
    ten, eleven = " ".join(["very"] * 9 + ["dog"]), " ".join(["very"] * 10 + ["dog"])
    assert is_scorable(ObjectMention(ten, 0, len(ten)))
    assert not is_scorable(ObjectMention(eleven, 0, len(eleven)))
    kept, dropped = without_unscorable([record("1.png", "dog", eleven), record("2.png", ""), record("3.png", "cat")])
    assert [[m.text for m in r.objects] for r in kept] == [["dog"], [], ["cat"]]
    assert dropped == 2


def test_each_distinct_text_is_embedded_once(folder, tmp_path):
    records = [record("1.png", "dog", "Dog", "cat"), record("2.png", "cat", "dog"), record("3.png", "dog")]
    scorer, _ = run(folder, records, tmp_path / "s.jsonl", group=1)
    assert scorer.texts == [["A photo containing dog.", "A photo containing cat."]]


def test_captions_of_one_image_share_its_windows(folder, tmp_path):
    records = [record("1.png", "dog", sample=s) for s in range(3)] + [record("2.png", "dog")]
    scorer, _ = run(folder, records, tmp_path / "s.jsonl")
    assert scorer.images == [2]
    assert [r.key for r in read_objects(tmp_path / "s.jsonl")] == ["1/0", "1/1", "1/2", "2/0"]


def test_a_continued_run_asks_for_the_same_groups_as_an_undisturbed_one(folder, tmp_path):
    records = [record(f"{i}.png", "dog", f"thing{i}") for i in (1, 2, 3)]
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    run(folder, records, whole)
    part.write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"\n") + 20])  # one line and a torn one
    scorer, _ = run(folder, records, part)
    assert part.read_bytes() == whole.read_bytes()
    assert scorer.images == [2, 1]  # the first group is computed whole although its first record was there


def test_a_slice_holds_the_same_numbers(folder, tmp_path):
    records = [record(f"{i}.png", "dog") for i in (1, 2, 3)]
    scorer, _ = run(folder, records, tmp_path / "s.jsonl", first=1, last=2)
    assert [r.key for r in read_objects(tmp_path / "s.jsonl")] == ["2/0"]
    assert scorer.images == [2]


def test_unreadable_images_are_skipped_counted_and_bounded(folder, tmp_path):
    for i in range(10, 210):
        (folder / f"{i}.png").write_bytes((folder / "2.png").read_bytes())
    records = [record(f"{i}.png", "dog") for i in range(10, 210)]
    _, images = run(folder, [record("4.png", "dog"), *records], tmp_path / "s.jsonl", group=16)
    assert list(images.lost) == ["4.png"]
    assert len(read_objects(tmp_path / "s.jsonl")) == 200
    with pytest.raises(DataError, match=r"1 of 2 images .*4\.png"):
        run(folder, [record("1.png", "dog"), record("4.png", "dog")], tmp_path / "t.jsonl")


def test_a_score_that_is_no_number_names_object_and_image(folder, tmp_path):
    class NanScorer(RedScorer):
        def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.full((len(texts), 1), float("nan"))

    with pytest.raises(DataError, match=r"'A photo containing dog\.' for image 1\.png is nan"):
        run(folder, [record("1.png", "dog")], tmp_path / "s.jsonl", NanScorer())
    assert not (tmp_path / "s.jsonl").exists()  # nothing is made before there is a score to write


def test_a_caption_without_objects_keeps_its_line(folder, tmp_path):
    run(folder, [record("1.png"), record("2.png", "dog")], tmp_path / "s.jsonl")
    assert [len(r.objects) for r in read_objects(tmp_path / "s.jsonl")] == [0, 1]


def test_scores_are_those_of_windows_embedded_one_by_one_whoever_decodes(tmp_path):
    images, records = tmp_path / "images", []
    images.mkdir()
    for i in range(1, 6):
        small = np.random.default_rng(i).integers(0, 255, (30 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(small).resize((300, 240 + 8 * (i % 3))).save(images / f"{i}.jpg")
        records.append(record(f"{i}.jpg", "dog", f"thing{i}"))
    scorer = load_scorer(str(make_clip_folder(tmp_path / "clip")), None)
    for workers in (0, 2):
        with ResumableLines(tmp_path / f"{workers}.jsonl", caption_key) as lines:
            job = RelevanceJob(scorer, ImageFolder(images), ScoreSettings(), 2, workers=workers)
            job.run(records, lines)
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    for found in read_objects(tmp_path / "0.jsonl"):
        image = Image.open(images / found.image).convert("RGB")
        grid = window_grid(image.height, image.width)
        crops = [image.crop((left, top, left + 192, top + 192)) for top in grid.tops for left in grid.lefts]
        alone = torch.cat([scorer.embed_images([crop], [whole_image(192, 192)])[0] for crop in crops])
        for mention in found.objects:
            text = scorer.embed_texts([ScoreSettings().text(mention.text)])
            expected = float(object_scores(100 * alone @ text.T, grid)[0])
            assert mention.score == pytest.approx(expected, abs=1e-4)  # four decimals are written
