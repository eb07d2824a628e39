"""What the shared readers and the parser say to a user's mistakes: one line, the value, the place, what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.args import MODEL_FAMILIES, ModelArguments, parse
from common.errors import ArgumentError, DataError
from common.files.record_files import read_captions, read_objects, read_span_samples
from common.files.records import Caption
from common.files.storage import read_text
from common.models import MODEL_NAMES


def test_every_family_has_flags_and_the_other_way_round() -> None:
    assert sorted(MODEL_FAMILIES) == sorted(MODEL_NAMES)
    assert all(hasattr(ModelArguments(), f"{name}_path") for name in MODEL_FAMILIES)


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"'lava'.*llava"):
        parse([ModelArguments], "", ["--model", "lava"])


def test_an_unknown_flag_gets_a_suggestion() -> None:
    with pytest.raises(ArgumentError, match=r"--modle; did you mean --model\?"):
        parse([ModelArguments], "", ["--modle", "llava"])


def test_an_unknown_key_of_a_config_names_the_file(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("modle: llava\n")
    with pytest.raises(ArgumentError, match=r"run\.yaml: unknown key modle; did you mean model\?"):
        parse([ModelArguments], "", ["--config", str(config)])


def test_the_command_line_wins_over_the_config(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("model: owl\nowl_path: here\n")
    (args,) = parse([ModelArguments], "", ["--config", str(config), "--owl_path", "there"])
    assert (args.model, args.chosen("path")) == ("owl", "there")


def test_pickled_arrays_are_refused_by_name(tmp_path: Path) -> None:
    array, plain = tmp_path / "scores.npy", tmp_path / "scores.pkl"
    np.save(array, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    plain.write_bytes(pickle.dumps([b"\xff" * 9]))
    for path in (array, plain):
        with pytest.raises(DataError, match=rf"{path.name} is a NumPy array, a pickle .* never read"):
            read_text(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "1.png", "image_id": 1, "caption": "x"}\n{bad\n', ":2: not JSON"),
        ('{"image": "1.png", "image_id": 1}\n', ":1: no field caption or text"),
        ('{"image": "1.png", "image_id": 1, "caption": " "}\n', "caption of image 1.png is empty"),
        ('{"image_id": 1, "caption": "x"}\n{"image_id": 1, "caption": "y"}\n', "two captions of image 1"),
        ("", "holds no captions"),
        (
            '{"image": "a.png", "image_id": 1, "caption": "x"}\n'
            '{"image": "b.png", "image_id": 1, "sample": 1, "caption": "y"}\n',
            "images a.png and b.png have the same id 1",
        ),
        ('{"image": "1.png", "image_id": 1, "caption": "x", "caption": "y"}\n', ":1: 'caption' stands twice"),
    ],
)
def test_captions_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_captions(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pos_neg.json"
    path.write_text('[{"image": "1.png", "sentence": "a dog", "position": 0, "score": NaN}]')
    with pytest.raises(DataError, match=r"entry 1: score is not a finite number"):
        read_span_samples(path)


GOOD = {"image": "a_1.png", "image_id": 1, "caption": "A dog.", "objects": [{"text": "dog", "start": 2, "end": 5}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": ["1.png"]}, "image is ['1.png'], expected text"),
        ({"image": None}, "image is None, expected text"),
        ({"image_id": True}, "image_id is True, expected a whole number or text"),
        ({"image_id": 1.0}, "image_id is 1.0, expected"),
        ({"image_id": -1}, "image_id is -1, expected"),
        ({"image_id": None}, "image_id is None, expected"),
        ({"caption": ["A dog."]}, "caption is ['A dog.'], expected text"),
        ({"sample": "1"}, "sample is '1', expected a whole number"),
        ({"sample": 1.5}, "sample is 1.5, expected a whole number"),
        ({"text": "What is it?"}, "caption and text differ"),
        ({"objects": None}, "objects is None, expected a list"),
        ({"objects": ["dog"]}, "objects.0 is 'dog', expected an object"),
        ({"objects": [{"text": "dog", "start": 2}]}, "no field objects.0.end"),
        (
            {"objects": [{"text": "dog", "start": 2, "end": 5, "score": "31"}]},
            "objects.0.score is '31', expected a number",
        ),
        ({"objects": [{"text": "dog", "start": 2, "end": 5, "score": True}]}, "objects.0.score is True, expected"),
        ({"objects": [{"text": "dog.", "start": 2, "end": 999}]}, "object 'dog.' is not at 2:999"),
        ({"objects": [{"text": "", "start": 2, "end": 2}]}, "object '' is not at 2:2"),
        ({"objects": [{"text": "g.", "start": -2, "end": 6}]}, "object 'g.' is not at -2:6"),
        (
            {"objects": [{"text": "dog", "start": 2, "end": 5, "score": s} for s in (9.0, 40.0)]},
            "object 'dog' at 2:5 has the scores 9.0 and 40.0",
        ),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_object_records_of_another_type(tmp_path: Path, change: dict[str, Any], message: str, as_list: bool) -> None:
    """As JSON Lines and as a JSON list; the second of two is named."""
    rows = [{**GOOD, "image_id": 7}, {**GOOD, **change}]
    path = tmp_path / "objects.jsonl"
    path.write_text(json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError) as caught:
        read_objects(path)
    place = "objects.jsonl: entry 2" if as_list else "objects.jsonl:2"
    assert message in str(caught.value) and place in str(caught.value)


def test_objects_of_one_caption_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 2)
    with pytest.raises(DataError, match="two captions of image a_1"):
        read_objects(path)


SPAN = {"image": "1.png", "sentence": "a dog", "position": 0, "score": 30}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "expected a list, found an object"),
        ([[]], "entry 1: expected an object"),
        ([SPAN, {**SPAN, "position": "0"}], "entry 2: position is '0', expected a whole number"),
        ([SPAN, {**SPAN, "position": False}], "entry 2: position is False, expected a whole number"),
        ([SPAN, {**SPAN, "position": 5}], "entry 2: position 5 is outside the sentence of 5"),
        ([SPAN, {**SPAN, "score": None}], "entry 2: score is None, expected a number"),
        ([SPAN, {**SPAN, "score": "30"}], "entry 2: score is '30', expected a number"),
        ([SPAN, {**SPAN, "image": 1}], "entry 2: image is 1, expected text"),
        ([SPAN, {"image": "1.png"}], "entry 2: no field sentence"),
    ],
)
def test_spans_of_another_type(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "pos_neg.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError) as caught:
        read_span_samples(path)
    assert message in str(caught.value) and "pos_neg.json" in str(caught.value)


def test_the_text_form_of_objects_knows_one_caption_an_image(tmp_path: Path) -> None:
    path = tmp_path / "objects.txt"
    path.write_text("1.png ### 0 ### dog\n")
    captions = [Caption("1.png", 1, "A dog."), Caption("1.png", 1, "A cat.", 1)]
    assert [o.text for o in read_objects(path, captions[:1])[0].objects] == ["dog"]
    with pytest.raises(DataError, match="one caption an image"):
        read_objects(path, captions)
