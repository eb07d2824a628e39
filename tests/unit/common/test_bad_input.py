"""What the shared readers and the parser say to a user's mistakes: one line, the value, the place, what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from common.args import MODEL_FAMILIES, ModelArguments, parse
from common.errors import ArgumentError, DataError
from common.files.record_files import read_captions, read_span_samples
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
