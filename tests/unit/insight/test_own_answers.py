"""The model's own answers: which questions, what is written, and that a run goes on where it was killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import ArgumentError, DataError
from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import read_vocabulary
from finetune.corpus.gold import read_gold
from insight.answer import main, questions_of, wording

VOCABULARY = read_vocabulary()
WORDS = ("dog", "bus", "kite", "pizza", "sunglasses")


def record(image: str, *words: str) -> CaptionObjects:
    """A caption that names these."""
    return CaptionObjects(image, 1, " ".join(words), tuple(ObjectMention(word, 0, 1) for word in words))


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("dog", "Is there a dog in the image?"),
        ("orange", "Is there an orange in the image?"),
        ("sunglasses", "Are there sunglasses in the image?"),
        ("wine glass", "Is there a wine glass in the image?"),
        ("bus", "Is there a bus in the image?"),
    ],
)
def test_wording(name: str, question: str) -> None:
    assert wording(name) == question


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=4), min_size=1, max_size=6).filter(any),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_what_is_named_and_what_is_not_in_turn(named: list[list[str]], per_image: int, seed: int) -> None:
    """No question twice; things of other images only; the order of the images is no matter."""
    records = [record(f"{n}.png", *words) for n, words in enumerate(named)]
    asked = questions_of(records, VOCABULARY, per_image, seed)
    assert len({(one.image, one.question) for one in asked}) == len(asked) == len({one.key for one in asked})
    everywhere = {wording(word) for words in named for word in words}
    for number, words in enumerate(named):
        here, own = {wording(word) for word in words}, [a.question for a in asked if a.image == f"{number}.png"]
        assert len(own) == min(per_image, len(everywhere)) and set(own) <= everywhere
        for place in range(min(len(own), 2 * min(len(here), len(everywhere - here)))):
            assert (own[place] in here) == (place % 2 == 0)
    turned = questions_of(records[::-1], VOCABULARY, per_image, seed)
    assert sorted(turned, key=lambda one: one.key) == sorted(asked, key=lambda one: one.key)


def test_words_of_one_thing_are_asked_about_once() -> None:
    asked = questions_of([record("1.png", "puppy", "dogs"), record("2.png", "bus")], VOCABULARY, 9, 0)
    assert [one.question for one in asked if one.image == "1.png"] == [wording("dog"), wording("bus")]
    with pytest.raises(DataError, match="nothing to ask"):
        questions_of([record("1.png")], VOCABULARY, 2, 0)


class Knowing:
    """A model that says yes to dogs, nothing to buses, and can be killed."""

    reduced = False

    def __init__(self, most: int = 99) -> None:
        self.most, self.texts = most, list[str]()

    def format_prompt(self, prompt: str, context: str = "") -> str:
        return f"USER: {prompt}{context}"

    def speak(self, images: Any, texts: Sequence[Sequence[str]], names: Any, decoding: Any, _: Any) -> Any:
        assert decoding["num_beams"] == 1 and len(images) == len(texts) == len(names)
        for number, some in enumerate(texts):
            for place, text in enumerate(some):
                if len(self.texts) == self.most:
                    raise KeyboardInterrupt
                self.texts.append(text)
                yield number, place, " Yes " if "dog" in text else "" if "bus" in text else "No"


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """Of a run over three images."""
    (tmp_path / "images").mkdir()
    rows = []
    for number, words in enumerate((["dog"], ["kite"], ["bus", "dog"]), start=1):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{number}.png")
        text = " ".join(words)
        places = [(word, text.index(word)) for word in words]
        objects = [{"text": word, "start": at, "end": at + len(word), "score": None} for word, at in places]
        rows.append({"image": f"{number}.png", "image_id": number, "caption": text, "objects": objects})
    (tmp_path / "objects.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {"object_data_path": "objects.jsonl", "image_dir_path": "images", "answer_data_path": "own.jsonl"}
    return [word for name, path in paths.items() for word in (f"--{name}", str(tmp_path / path))]


def test_what_it_says_becomes_instruction_data(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that was killed; what it says nothing to is passed over in training."""
    monkeypatch.setattr("common.models.load_from_args", lambda _: Knowing(3))
    with pytest.raises(KeyboardInterrupt):
        main(flags)
    model = Knowing()
    monkeypatch.setattr("common.models.load_from_args", lambda _: model)
    main(flags)
    assert len(model.texts) == 4  # of the second image and of the third
    samples, passed = read_gold(str(tmp_path / "own.jsonl"), tmp_path / "images", 99)
    assert passed > 0 and {sample.answer for sample in samples} == {"Yes", "No"}
    for sample in samples:
        assert (sample.answer == "Yes") == ("dog" in sample.question) and "bus" not in sample.question
        assert sample.question.startswith("According to the given image, answer yes or no")
    main(flags)
    assert len(model.texts) == 4
    with pytest.raises(ArgumentError, match="was begun with"):
        main([*flags, "--answer_prompt", "{question} Yes or no?"])


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--answer_prompt", "Is it?"], "has no {question}"), (["--questions_per_image", "0"], "least|from 1")],
)
def test_bad_flags(flags: list[str], more: list[str], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        main([*flags, *more])
