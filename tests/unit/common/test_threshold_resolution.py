"""Thresholds from flags, from the manifest beside the data, or as published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.manifest import manifest_path
from common.thresholds import Thresholds, resolve


def noted(folder: Path, value: object) -> Path:
    """A data file with a manifest beside it."""
    data = folder / "scores.jsonl"
    data.touch()
    manifest_path(data).write_text(json.dumps(value))
    return data


def test_what_travels_with_the_data_is_taken_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = noted(tmp_path, {"thresholds": {"hallucinated": 5, "grounded": 9, "sentence": 7.5}})
    for mini in (False, True):
        assert resolve(ThresholdArguments(), data, mini) == Thresholds(5, 9, 7.5)
    assert "hallucinated 5 (scores.jsonl.manifest.json), grounded 9" in capsys.readouterr().err
    assert resolve(ThresholdArguments(), tmp_path / "other.json", mini=False) == Thresholds(23, 32, 27.5)
    assert "hallucinated 23 (published)" in capsys.readouterr().err


def test_numbers_and_auto_can_be_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = noted(tmp_path, {"thresholds": {"hallucinated": 5, "grounded": 9, "sentence": 7.5}})
    args = ThresholdArguments(hal_clip_thres="auto", norm_clip_thres="40")
    assert resolve(args, data, mini=False) == Thresholds(5, 40, 7.5)
    assert "grounded 40 (--norm_clip_thres)" in capsys.readouterr().err


def test_published_numbers_with_another_scorer_are_questioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"hallucinated": 5, "grounded": 9, "sentence": 7.5}
    published = ThresholdArguments(hal_clip_thres="23", norm_clip_thres="32", sentence_clip_thres="27.5")
    data = noted(tmp_path, {"thresholds": own, "clip_model": "ViT-L-14"})
    assert resolve(published, data, mini=False) == Thresholds()
    assert "these scores are of ViT-L-14" in capsys.readouterr().err
    resolve(ThresholdArguments(), data, mini=False)
    assert "another scale" not in capsys.readouterr().err
    resolve(published, noted(tmp_path, {"thresholds": own, "clip_model": "ViT-B-32"}), mini=False)
    assert "another scale" not in capsys.readouterr().err
    resolve(ThresholdArguments(), noted(tmp_path, {"clip_model": "SigLIP"}), mini=False)
    assert "these scores are of SigLIP" in capsys.readouterr().err


def test_wrong_order_names_all_three_flags(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"--hal_clip_thres 40.*--sentence_clip_thres 27\.5.*--norm_clip_thres 32"):
        resolve(ThresholdArguments(hal_clip_thres="40"), tmp_path / "x", mini=False)


@pytest.mark.parametrize("text", ["low", "nan", "inf", ""])
def test_neither_number_nor_auto(text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--norm_clip_thres is '"):
        resolve(ThresholdArguments(norm_clip_thres=text), tmp_path / "x", mini=False)


def test_auto_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--hal_clip_thres auto needs .*scores\.jsonl\.manifest\.json"):
        resolve(ThresholdArguments(hal_clip_thres="auto"), tmp_path / "scores.jsonl", mini=False)


@pytest.mark.parametrize("value", [{}, [], {"thresholds": None}, {"thresholds": {"hallucinated": "23"}}])
def test_auto_with_a_manifest_that_notes_none(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="notes no threshold 'hallucinated'"):
        resolve(ThresholdArguments(), noted(tmp_path, value), mini=True)
