"""Batched, resumable captioning with a fake model whose captions betray their batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.args import GenerationArguments
from common.captioning.captioner import CaptionPlan, caption_images, count_captions, deterministic_decoding
from common.errors import ArgumentError, DataError
from common.files.images import ImageFolder
from common.files.record_files import caption_key
from common.files.storage import ResumableLines
from evaluate.eval_caption import first_unused
from insight.caption import CaptionArguments, sampling


@dataclass
class Fake:
    """Says the width of the image, the size of its batch and the seed; dies after `life` batches; blank for width 9."""

    life: int = 10**9
    calls: list[int] = field(default_factory=list)

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The prompt alone."""
        return prompt + context

    def generate(self, images: Sequence[Any], texts: Sequence[str], **decoding: Any) -> list[str]:
        """One text an image."""
        if len(self.calls) >= self.life:
            raise KeyboardInterrupt
        self.calls.append(len(images))
        assert len(images) == len(texts)
        seed = decoding.get("seed")
        return ["" if i.width == 9 else f"{i.width} of {len(images)} at {n}, {seed}" for n, i in enumerate(images)]


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    """Eleven images of 5 to 15 pixels."""
    for i in range(11):
        Image.new("RGB", (5 + i, 4)).save(tmp_path / f"{i:03d}.png")
    return ImageFolder(tmp_path)


def plan(**more: Any) -> CaptionPlan:
    """Batches of four."""
    return CaptionPlan("Describe.", **{"decoding": {"num_beams": 1}, "batch_size": 4, **more})


SAMPLED = {"decoding": {"do_sample": True, "temperature": 1.0, "top_p": 1.0}, "per_image": 3}


def caption(model: Fake, images: ImageFolder, path: Path, plan_: CaptionPlan, **more: Any) -> bytes:
    """Run, and return the file."""
    with ResumableLines(path, caption_key) as out:
        caption_images(model, images, images.names(), plan_, out, **more)
    return path.read_bytes()


@pytest.mark.parametrize("how", [{}, SAMPLED])
@pytest.mark.parametrize("life", [0, 1, 2])
def test_a_killed_run_ends_with_the_same_bytes(images: ImageFolder, how: dict[str, Any], life: int) -> None:
    """Killed between batches, and with the last batch half written."""
    whole = caption(Fake(), images, images.path / "whole.jsonl", plan(**how))
    path = images.path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        caption(Fake(life), images, path, plan(**how))
    assert path.exists() == (life > 0)
    torn = path.read_bytes() if life else b'{"image'
    path.write_bytes(torn[: int(len(torn) * 0.8)])
    assert caption(Fake(), images, path, plan(**how)) == whole
    finished = Fake()
    assert caption(finished, images, path, plan(**how)) == whole and finished.calls == []


def test_e8_captions_are_made_in_batches(images: ImageFolder) -> None:
    """Not one image at a time."""
    model = Fake()
    caption(model, images, images.path / "c.jsonl", plan())
    assert model.calls == [4, 4, 3]


def test_e7_a_blank_caption_is_a_record_and_is_not_tried_again(images: ImageFolder) -> None:
    """The last batch is as long as its images; blanks are counted, keyed by image, written once."""
    model, path = Fake(), images.path / "c.jsonl"
    caption(model, images, path, plan())
    with ResumableLines(path, caption_key) as out:
        counts = count_captions(out)
    assert (counts.captions, counts.blank, counts.image_ids) == (11, 1, tuple(range(11)))
    assert model.calls == [4, 4, 3]


def test_sampled_batches_have_seeds_of_their_own(images: ImageFolder) -> None:
    """Derived from the run's seed and the batch: several captions of an image differ, a seed repeats itself."""
    first = caption(Fake(), images, images.path / "a.jsonl", plan(**SAMPLED, seed=1))
    again = caption(Fake(), images, images.path / "b.jsonl", plan(**SAMPLED, seed=1))
    other = caption(Fake(), images, images.path / "c.jsonl", plan(**SAMPLED, seed=2))
    assert first == again != other
    assert len({plan(**SAMPLED, seed=1).batch_decoding(i)["seed"] for i in range(9)}) == 9
    assert first.count(b'"sample": 2') == 11


def test_a_range_of_images_gets_the_captions_of_the_whole_run(images: ImageFolder) -> None:
    """Images 3 to 6 cross a border of batches."""
    whole = caption(Fake(), images, images.path / "whole.jsonl", plan()).splitlines()
    assert caption(Fake(), images, images.path / "part.jsonl", plan(), span=(3, 6)).splitlines() == whole[3:6]


def test_an_unreadable_image_fails_the_run_if_it_is_more_than_one_percent(images: ImageFolder) -> None:
    """One of eleven."""
    (images.path / "004.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 11 images .* 004\.png"):
        caption(Fake(), images, images.path / "c.jsonl", plan())


def test_two_names_with_one_id(images: ImageFolder) -> None:
    """They would overwrite each other's captions."""
    Image.new("RGB", (5, 5)).save(images.path / "a3.png")
    with pytest.raises(DataError, match=r"003\.png and a3\.png"):
        caption(Fake(), images, images.path / "c.jsonl", plan())


def test_several_captions_are_sampled_without_beams() -> None:
    """More than one caption an image, or --do_sample."""
    generation = GenerationArguments()
    assert sampling(CaptionArguments(), generation) == deterministic_decoding(generation)
    several = sampling(CaptionArguments(captions_per_image=2, temperature=0.7, top_p=0.9), generation)
    chosen = [several[k] for k in ("num_beams", "do_sample", "temperature", "top_p")]
    assert chosen == [1, True, 0.7, 0.9]
    assert sampling(CaptionArguments(do_sample=True), generation)["do_sample"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"temperature": 0.0}, "--temperature is 0"), ({"top_p": 1.5}, "--top_p is 1.5")],
)
def test_bad_sampling_is_named(bad: dict[str, float], words: str) -> None:
    """With the flag."""
    with pytest.raises(ArgumentError, match=words):
        sampling(CaptionArguments(do_sample=True, **bad), GenerationArguments())


def test_bad_counts_are_named() -> None:
    """With the flag."""
    with pytest.raises(ArgumentError, match="--infer_bs is 0"):
        plan(batch_size=0)
    with pytest.raises(ArgumentError, match="--captions_per_image is 0"):
        plan(per_image=0)
    with pytest.raises(ArgumentError, match="--generate_num_beams is 0"):
        deterministic_decoding(GenerationArguments(generate_num_beams=0))


def test_evaluation_takes_the_first_images_that_training_did_not_use() -> None:
    """In order of their names."""
    assert first_unused(["a", "b", "c", "d"], {"a", "c"}, 1) == ["b"]
    assert first_unused(["a", "b", "c", "d"], {"a", "c"}, 9) == ["b", "d"]
    with pytest.raises(DataError, match="used all 1 images"):
        first_unused(["a"], {"a"}, 9)


@dataclass
class Speaking(Fake):
    """Says what it was asked of, the last image first; nothing of one that cannot be opened; dies after `life`."""

    def speak(
        self, images: Sequence[Any], texts: Sequence[Any], names: Sequence[Any], decoding: Any, most: int | None = None
    ) -> Iterator[tuple[int, int, str]]:
        """Answers of three images at a time."""
        for number in [i + 2 - i % 3 * 2 if i - i % 3 + 2 < len(images) else i for i in range(len(images))]:
            image = images[number]()
            for place, _ in enumerate(texts[number]) if image is not None else ():
                if len(self.calls) >= self.life:
                    raise KeyboardInterrupt
                self.calls.append(number)
                yield number, place, f"{image.width} {names[number][place]} {decoding} {most}"


@pytest.mark.parametrize("how", [{}, SAMPLED])
@pytest.mark.parametrize("life", [0, 4, 10])
def test_answers_are_written_in_order_whenever_they_end(images: ImageFolder, how: dict[str, Any], life: int) -> None:
    """And a killed run ends with the same bytes; a sample is named by image and number, whatever is left to do."""
    whole = caption(Speaking(), images, images.path / "whole.jsonl", plan(**how))
    found = [json.loads(line) for line in whole.splitlines()]
    assert [(c["image_id"], c.get("sample", 0)) for c in found] == [
        (i, s) for i in range(11) for s in range(3 if how else 1)
    ]
    names = [(f"{c['image_id'] + 5}", f"{c['image_id']}/{c.get('sample', 0)}") for c in found]
    assert [tuple(c["caption"].split()[:2]) for c in found] == names
    path = images.path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        caption(Speaking(life), images, path, plan(**how))
    if path.exists():
        torn = path.read_bytes()
        path.write_bytes(torn[: int(len(torn) * 0.8)])
    assert caption(Speaking(), images, path, plan(**how)) == whole
    part = caption(Speaking(), images, images.path / "part.jsonl", plan(**how), span=(3, 6))
    assert part in whole


def test_an_image_that_cannot_be_read_leaves_the_others_in_order(images: ImageFolder) -> None:
    """One of 111, first and last ones too."""
    for i in range(11, 111):
        Image.new("RGB", (5 + i, 4)).save(images.path / f"{i:03d}.png")
    (images.path / "004.png").write_bytes(b"no image")
    found = caption(Speaking(), images, images.path / "c.jsonl", plan()).splitlines()
    assert [json.loads(line)["image_id"] for line in found] == [i for i in range(111) if i != 4]
