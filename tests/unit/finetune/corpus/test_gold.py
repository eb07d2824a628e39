"""Instruction data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from finetune.corpus.gold import encode_gold, read_gold
from tests.unit.finetune.corpus.test_training_items import PROMPT, Words


def turns(question: str, answer: str) -> list[dict[str, str]]:
    """LLaVA's layout."""
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


RECORDS: list[dict[str, Any]] = [
    {"id": "a", "image": "coco/1.jpg", "conversations": turns("<image>\nWhat is it?", "a dog") + turns("q2", "a2")},
    {"id": "b", "conversations": turns("Write a poem.", "no")},
    {"id": "c", "image": "coco/2.jpg", "conversations": turns("Where?\n<image>", "on a bench")},
    {"id": "d", "image": "coco/3.jpg", "conversations": turns("Why?", "because")},
]


def write(folder: Path, value: Any) -> str:
    """A JSON file."""
    (folder / "coco").mkdir(exist_ok=True)
    for number in (1, 2, 3):
        (folder / "coco" / f"{number}.jpg").touch()
    path = folder / "mix.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def test_t21_as_many_records_with_an_image_as_asked_for_and_their_first_turn(tmp_path: Path) -> None:
    """Text-only records are passed over, not counted; a smaller request takes fewer."""
    samples, passed = read_gold(write(tmp_path, RECORDS), tmp_path, 2)
    assert [(s.question, s.answer) for s in samples] == [("What is it?", "a dog"), ("Where?", "on a bench")]
    assert passed == 1
    assert samples[0].image == str((tmp_path / "coco/1.jpg").resolve())
    assert len(read_gold(write(tmp_path, RECORDS), tmp_path, 1)[0]) == 1


def test_json_lines_of_questions_and_answers(tmp_path: Path) -> None:
    """As insight/answer.py writes them."""
    write(tmp_path, [])
    path = tmp_path / "own.jsonl"
    rows = [
        {"question_id": f"{n}", "answer": "Yes", "question": f"Is it {n}?", "image": f"coco/{n}.jpg"} for n in (1, 2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples, passed = read_gold(str(path), tmp_path, 9)
    assert [(s.question, s.answer) for s in samples] == [("Is it 1?", "Yes"), ("Is it 2?", "Yes")] and passed == 0
    path.write_text('{"question": "Is it?", "answer": 3, "image": "coco/1.jpg"}\n')
    with pytest.raises(DataError, match=r"own\.jsonl:1"):
        read_gold(str(path), tmp_path, 9)


def test_answer_and_one_end_symbol_are_learnt_whole(tmp_path: Path) -> None:
    """A span over all tokens."""
    samples, _ = read_gold(write(tmp_path, RECORDS), tmp_path, 1)
    (item,) = encode_gold(samples, Words())
    assert item.ids == (10, 11, Words.eos_id) and item.prompt == PROMPT
    assert [(s.kind, s.start, s.end, s.score) for s in item.spans] == [("gold", 0, 3, 40.0)]


def record(image: Any, *turns: tuple[str, Any]) -> dict[str, Any]:
    """A record of these turns."""
    return {"image": image, "conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


ASK, TELL = ("human", "<image>\nWhat is shown?"), ("gpt", "A harbor.")


@pytest.mark.parametrize(
    "turns",
    [
        (ASK, TELL),
        (("system", "You are a helpful assistant."), ASK, TELL),
        (("system", "<image> You see images."), ASK, TELL),
        (("gpt", "Hello."), ASK, TELL),
        (("human", "Hello."), ("gpt", "Hi."), ASK, TELL),
        (ASK, ("system", "Be short."), TELL, ("human", "And?"), ("gpt", "No more.")),
        (("user", ASK[1]), ("assistant", TELL[1])),
        (("gpt", "Hello."), ("human", "What is shown?"), TELL),
    ],
)
def test_turns_are_found_by_their_speakers(tmp_path: Path, turns: tuple[tuple[str, str], ...]) -> None:
    """Wherever the question and its answer stand."""
    for image in ("coco/1.jpg", ["coco/1.jpg"]):
        (sample,) = read_gold(write(tmp_path, [record(image, *turns)]), tmp_path, 5)[0]
        assert (sample.question, sample.answer) == ("What is shown?", "A harbor.")
        assert sample.image == str((tmp_path / "coco/1.jpg").resolve())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "JSON list"),
        ([RECORDS[1]], "none of 1 records"),
        ([{"image": "coco/1.jpg", "conversations": []}], "entry 1: needs conversations"),
        ([{"image": "coco/1.jpg"}], "entry 1: no field conversations"),
        ([{"image": "coco/1.jpg", "conversations": turns("q", " ")}], "entry 1: the answer is empty"),
        ([{"image": "coco/1.jpg", "conversations": turns("<image>", "a")}], "entry 1: the question is empty"),
        (["text"], "entry 1: expected an object"),
        ([None], "entry 1: expected an object"),
        ([record("coco/1.jpg", TELL, ASK)], "entry 1: no answer .from gpt. follows"),
        ([record("coco/1.jpg", ASK, ("human", "Well?"), TELL)], "entry 1: no answer .from gpt. follows"),
        ([record("coco/1.jpg", ASK, ("gpt", None))], r"entry 1: conversations.1.value is None, expected text"),
        ([record("coco/1.jpg", ASK, ("gpt", 7))], r"entry 1: conversations.1.value is 7, expected text"),
        ([record("coco/1.jpg", ("narrator", "It rains."), ASK, TELL)], "entry 1: a turn is from 'narrator'"),
        ([record("coco/1.jpg", ("human", "<image><image> Both?"), TELL)], "holds <image> 2 times"),
        ([record(["coco/1.jpg", "coco/2.jpg"], ASK, TELL)], "entry 1: 2 images"),
        ([record(7, ASK, TELL)], "entry 1: image is 7, expected"),
        ([record(False, ASK, TELL)], "entry 1: image is False, expected"),
        ([record(True, ASK, TELL)], "entry 1: image is True, expected"),
        ([record("coco/9.jpg", ASK, TELL)], "entry 1: image coco/9.jpg is not in"),
        ([record("../1.jpg", ASK, TELL)], "entry 1: image .../1.jpg. is outside"),
        ([record("/etc/passwd", ASK, TELL)], "is outside the folder"),
        ([record("a\0b", ASK, TELL)], "is outside the folder"),
        ([{"image": "coco/1.jpg", "conversations": {"from": "human"}}], "conversations is .*, expected a list"),
        ([{"image": "coco/1.jpg", "conversations": ["hi"]}], "conversations.0 is 'hi', expected an object"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, value: Any, words: str) -> None:
    """File and entry, in one line."""
    with pytest.raises(DataError, match=words) as caught:
        read_gold(write(tmp_path, value), tmp_path, 5)
    assert "\n" not in str(caught.value) and "mix.json" in str(caught.value)


CASES = Path(__file__).parent / "cases" / "roles_by_name"


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("system_train", "mini_train_000000000001.png", None),
        ("imglist", "1.png", None),
        ("gptfirst", "1.png", "entry 1: no answer"),
        ("null", "1.png", "entry 1: conversations.1.value is None"),
    ],
)
def test_files_as_other_tools_write_them(tmp_path: Path, name: str, image: str, words: str | None) -> None:
    """Learnt by role, or refused; never "None", never the system's turn, never `['1.png']`."""
    (tmp_path / image).touch()
    path = str(CASES / f"{name}.json")
    if words is not None:
        with pytest.raises(DataError, match=words):
            read_gold(path, tmp_path, 5)
        return
    (sample,) = read_gold(path, tmp_path, 5)[0]
    assert (sample.question, sample.answer) == ("What is shown?", "A harbor.")
    assert sample.image == str((tmp_path / image).resolve())


def test_images_of_instruction_data_are_tried_before_training(tmp_path: Path) -> None:
    """In their own folder, by their paths; more than 1 % that cannot be decoded end the run."""
    from PIL import Image

    from common.files.images import ImageFolder
    from finetune.setup.data import readable_gold

    (tmp_path / "coco").mkdir()
    (tmp_path / "train").mkdir()
    for number in range(1, 3):
        Image.new("RGB", (4, 4)).save(tmp_path / "coco" / f"{number}.jpg")
    samples, _ = read_gold(write(tmp_path, RECORDS), tmp_path, 2)
    images = ImageFolder(tmp_path / "train")
    assert readable_gold(samples, images) == samples
    assert [image.size for image in images.open_all(sample.image for sample in samples)] == [(4, 4), (4, 4)]
    with pytest.raises(DataError, match="outside the folder"):
        images.open(str(tmp_path / "train" / "1.jpg"))
    (tmp_path / "coco" / "2.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 2 images .*cannot be read"):
        readable_gold(samples, ImageFolder(tmp_path / "train"))
