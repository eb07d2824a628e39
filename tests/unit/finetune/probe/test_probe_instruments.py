"""The probe takes the scorer and the extractor that the samples came from, and no others."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.paths import MINI_CLIP
from common.relevance.noted import NotedScorer
from common.relevance.scoring import ScoreSettings
from finetune.probe.arguments import ProbeArguments
from finetune.probe.instruments import Instruments, find_instruments

CUT = {"hallucinated": 1.0, "grounded": 3.0, "sentence": 2.0}


def samples(folder: Path, **manifest: Any) -> Path:
    """A file of spans, of which only the manifest beside it is looked at."""
    (folder / "pos_neg.json.manifest.json").write_text(json.dumps(manifest))
    return folder / "pos_neg.json"


def find(path: Path, mini: bool = False, thresholds: ThresholdArguments | None = None, **flags: Any) -> Instruments:
    return find_instruments(ProbeArguments(**flags), thresholds or ThresholdArguments(), path, mini)


@pytest.fixture(scope="module")
def bundled() -> NotedScorer:
    return NotedScorer.of(str(MINI_CLIP), None, ScoreSettings(span=2))


def test_what_is_noted_is_taken_with_its_settings(tmp_path: Path, bundled: NotedScorer) -> None:
    """Also the noise that was laid over the scores."""
    noted = replace(bundled, noise=2.0, noise_seed=7)
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(noted), extractor={"extractor": "spacy"})
    for flags in ({}, {"clip_model": str(MINI_CLIP), "extractor": "spacy"}):
        found = find(path, **flags)
        assert found.scorer == noted and found.scorer.settings.span == 2 and found.extractor.extractor == "spacy"
    assert find(path, mini=True).scorer == noted


def test_a_scorer_that_was_moved_is_known_by_its_content(tmp_path: Path, bundled: NotedScorer) -> None:
    shutil.copytree(MINI_CLIP, tmp_path / "moved")
    gone = replace(bundled, clip_model="/nowhere/mini-clip")
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(gone))
    assert find(path).scorer.clip_model == str(MINI_CLIP)
    assert find(path, clip_model=str(tmp_path / "moved")).scorer.weights == bundled.weights
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(replace(gone, weights="0" * 64)))
    with pytest.raises(DataError, match="/nowhere/mini-clip, is not there; give it with --clip_model"):
        find(path)


def test_another_scorer_is_refused(tmp_path: Path, bundled: NotedScorer) -> None:
    """Of another name, of other weights under the same name, of another tag."""
    shutil.copytree(MINI_CLIP, tmp_path / "clip")
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(replace(bundled, clip_model=str(tmp_path / "clip"))))
    with pytest.raises(ArgumentError, match=r"--clip_model ViT-B-32 is not the scorer .*leave it out"):
        find(path, clip_model="ViT-B-32")
    with (tmp_path / "clip" / "open_clip_model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArgumentError, match="weights"):
        find(path, clip_model=str(tmp_path / "clip"))
    with pytest.raises(DataError, match=r"has been changed since: weights .*--clip_model"):
        find(path)  # the noted folder holds another one now
    assert find(samples(tmp_path, thresholds=CUT, scorer={"clip_model": str(tmp_path / "clip")})).scorer.weights is None
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(replace(bundled, clip_model=str(tmp_path / "clip"))))
    named = NotedScorer.of("ViT-B-32", "openai")
    path = samples(tmp_path, thresholds=CUT, scorer=asdict(named))
    with pytest.raises(ArgumentError, match=r"--clip_pretrained laion2b .*\(openai\); leave it out"):
        find(path, clip_pretrained="laion2b")  # alone it was ignored
    assert find(path, clip_pretrained="openai").scorer == named
    assert find(path).scorer == find(path, clip_model="ViT-B-32").scorer == named
    with pytest.raises(ArgumentError, match="weights laion2b_s34b_b79k, not openai"):
        find(path, clip_model="ViT-B-32", clip_pretrained="laion2b_s34b_b79k")


def test_of_another_preprocessing_it_is_said_what_differs(tmp_path: Path, bundled: NotedScorer) -> None:
    """The configuration counts as one with the weights, so the weights were said to be others."""
    path = samples(tmp_path, thresholds=CUT, scorer=json.loads(json.dumps(asdict(bundled))))
    for change, message in (
        ({"image_size": 98}, "image_size 98, not 112"),
        ({"mean": [0.5, 0.5, 0.5]}, r"mean \[0\.5, 0\.5, 0\.5\], not \[0\.48145466, "),
        ({"resize_mode": "squash"}, "resize_mode squash, not shortest"),
    ):
        folder = tmp_path / next(iter(change))
        shutil.copytree(MINI_CLIP, folder)
        config = json.loads((folder / "open_clip_config.json").read_text())
        part = config["model_cfg"]["vision_cfg"] if "image_size" in change else config["preprocess_cfg"]
        part |= change
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(ArgumentError, match=f"--clip_model .* is not the scorer .*: {message}"):
            find(path, clip_model=str(folder))
    before = {name: value for name, value in asdict(bundled).items() if name != "preprocessing"}
    assert find(samples(tmp_path, thresholds=CUT, scorer=before), clip_model=str(MINI_CLIP))  # scores of before


def test_another_extractor_is_refused(tmp_path: Path, bundled: NotedScorer) -> None:
    model = tmp_path / "lm"
    model.mkdir()
    (model / "config.json").write_text("{}")
    noted = {"thresholds": CUT, "scorer": asdict(bundled)}
    with pytest.raises(ArgumentError, match=r"--extractor llm is not the extractor .*extractor llm, not spacy"):
        find(samples(tmp_path, **noted, extractor={"extractor": "spacy"}), extractor_model=str(model))
    llm = {"extractor": "llm", "extractor_model": str(model), "extractor_model_hash": "0" * 64}
    with pytest.raises(ArgumentError, match="extractor spacy, not llm"):
        find(samples(tmp_path, **noted, extractor=llm), extractor="spacy")
    with pytest.raises(ArgumentError, match="extractor_model_hash"):
        find(samples(tmp_path, **noted, extractor=llm), extractor_model=str(model))
    with pytest.raises(DataError, match=r"has been changed or moved since: extractor_model_hash"):
        find(samples(tmp_path, **noted, extractor=llm))


def test_where_nothing_is_noted_it_has_to_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scorer and, for another scale than the published one, thresholds."""
    with pytest.raises(DataError, match="notes none; give it with --clip_model"):
        find(tmp_path / "pos_neg.json")
    assert find(tmp_path / "pos_neg.json", clip_model="ViT-B-32").scorer.clip_pretrained == "openai"
    assert "nothing notes the scorer" in capsys.readouterr().err
    for given, flag in (({}, "--hal_clip_thres"), ({"hal_clip_thres": "1"}, "--norm_clip_thres")):
        with pytest.raises(DataError, match=flag):
            find(tmp_path / "pos_neg.json", thresholds=ThresholdArguments(**given), clip_model=str(MINI_CLIP))
    both = ThresholdArguments(hal_clip_thres="1", norm_clip_thres="3")
    assert find(tmp_path / "pos_neg.json", thresholds=both, clip_model=str(MINI_CLIP)).scorer.weights


@pytest.mark.parametrize("noted", [{"clip_model": 7}, {"mode": "patch"}, {"prompt": "A photo."}, {"best": 0}])
def test_a_manifest_of_something_else_names_the_place(tmp_path: Path, noted: dict[str, Any]) -> None:
    """A mode that there is not would be taken for the default, and every probe be of another scorer."""
    with pytest.raises(DataError, match=rf"pos_neg\.json\.manifest\.json: scorer: {next(iter(noted))} is "):
        find(samples(tmp_path, thresholds=CUT, scorer={"clip_model": str(MINI_CLIP)} | noted))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"probe_images": 3}, "--probe_images is of the probe"),
        ({"probe_captions": 2}, "--probe_captions is of the probe"),
        ({"probe_steps": 3, "probe_patience": 1}, "--probe_patience says which probe is the best; add --keep best"),
    ],
)
def test_flags_without_their_probe_are_refused(flags: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        ProbeArguments(**flags).check()
    ProbeArguments(**flags | {"keep": "best"}).check()
