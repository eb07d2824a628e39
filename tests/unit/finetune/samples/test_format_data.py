"""The format script: its files, its manifest, and what it refuses in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from common.args import ThresholdArguments
from common.cli import run
from common.errors import ArgumentError
from common.files.record_files import read_sentence_samples, read_span_samples
from common.thresholds import Thresholds, resolve
from finetune import format_data

GOOD = "A dog lies on a bed. It sleeps beside a ball."
SCORED = [
    {"image": "a_1.jpg", "image_id": 1, "caption": "A dog, a cat.", "objects": [("dog", 2, 35.0), ("cat", 9, 20.0)]},
    {"image": "a_2.jpg", "image_id": 2, "caption": GOOD, "objects": [("dog", 2, 33.0), ("bed", 16, 28.0)]},
]


def lines(records: list[dict[str, object]]) -> str:
    """JSON Lines of records whose objects are (text, start, score)."""
    out = []
    for record in records:
        objects = [
            {"text": text, "start": start, "end": start + len(text), "score": score}
            for text, start, score in record["objects"]  # type: ignore[attr-defined]
        ]
        out.append(json.dumps({**record, "objects": objects}))
    return "\n".join(out) + "\n"


class Script:
    """The script in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.scores = folder / "scores.jsonl"
        self.spans, self.sentences = folder / "pos_neg.json", folder / "sentences.json"

    def __call__(self, text: str, *more: str) -> None:
        """Run it on a scores file with this text."""
        self.scores.write_text(text)
        paths = ["--score_data_path", str(self.scores), "--pos_neg_data_path", str(self.spans)]
        paths += ["--sentence_data_path", str(self.sentences)]
        self.monkeypatch.setattr(sys, "argv", ["format_data.py", *paths, *more])
        run(format_data.main)

    def refusal(self, text: str, *more: str) -> str:
        """Its one line of complaint; checks the exit code and that nothing was written."""
        with pytest.raises(SystemExit) as stop:
            self(text, *more)
        assert stop.value.code == 2
        assert not self.spans.exists() and not self.sentences.exists()
        errors = [line for line in self.capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        return errors[0]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """The script, ready to be called."""
    return Script(tmp_path, monkeypatch, capsys)


def test_only_the_best_captions_of_an_image_are_whole_all_have_spans(script: Script) -> None:
    other = {"image": "a_2.jpg", "image_id": 2, "sample": 1, "caption": "A dog lies. A dog sleeps."}
    twice = other | {"objects": [("dog", 2, 35.0), ("dog", 14, 35.0)]}
    script(lines([*SCORED, twice]), "--whole_captions", "best")
    assert [line["sentence"] for line in json.loads(script.sentences.read_text())] == [SCORED[0]["caption"], GOOD]
    assert [s.sentence for s in read_sentence_samples(script.folder / "repaired.json")] == ["A dog."]
    spans = json.loads(script.spans.read_text())
    assert [line["sentence"] for line in spans if line["image"] == "a_2.jpg"][1:] == [
        "A dog lies",
        "A dog lies. A dog sleeps",
    ]


def test_files_are_the_published_ones_field_by_field(script: Script) -> None:
    script(lines(SCORED))
    assert json.loads(script.spans.read_text()) == [
        {"image": "a_1.jpg", "sentence": "A dog", "position": 0, "score": 35.0},
        {"image": "a_1.jpg", "sentence": "A dog, a cat", "position": 6, "score": 20.0},
        {"image": "a_2.jpg", "sentence": "A dog lies on a bed", "position": 0, "score": 33.0},
    ]
    assert json.loads(script.sentences.read_text()) == [
        {"image": "a_1.jpg", "sentence": "A dog, a cat.", "mean": 27.5, "min": 20.0},
        {"image": "a_2.jpg", "sentence": GOOD, "mean": 30.5, "min": 28.0},
    ]
    assert len(read_span_samples(script.spans)) == 3
    assert len(read_sentence_samples(script.sentences)) == 2


def test_manifest_notes_thresholds_for_training_and_counts(script: Script) -> None:
    script(lines(SCORED), "--hal_clip_thres", "21", "--norm_clip_thres", "34")
    found = json.loads((script.folder / "pos_neg.json.manifest.json").read_text())
    assert found["thresholds"] == {"hallucinated": 21.0, "grounded": 34.0, "sentence": 27.5}
    assert (found["counts"]["positives"], found["counts"]["negatives"], found["counts"]["uncertain"]) == (1, 1, 1)
    assert found["image_ids"] == [1, 2]
    auto = ThresholdArguments(hal_clip_thres="auto", norm_clip_thres="auto")
    assert resolve(auto, script.spans, mini=False) == Thresholds(21, 34, 27.5)


def test_what_made_the_scores_is_carried_on(script: Script) -> None:
    """Scorer and extractor, as noted beside the scores; nothing where nothing is noted."""
    noted = {"scorer": {"clip_model": "ViT-B-32"}, "extractor": {"extractor": "spacy"}}
    script.scores.with_name("scores.jsonl.manifest.json").write_text(json.dumps({**noted, "quality": {}}))
    script(lines(SCORED))
    found = json.loads((script.folder / "pos_neg.json.manifest.json").read_text())
    assert {name: found.get(name) for name in ("scorer", "extractor", "quality")} == {**noted, "quality": None}


def test_auto_takes_what_was_noted_beside_the_scores(script: Script) -> None:
    thresholds = {"hallucinated": 25, "grounded": 34.5, "sentence": 26}
    (script.folder / "scores.jsonl.manifest.json").write_text(json.dumps({"thresholds": thresholds}))
    flags = ["--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto"]
    script(lines(SCORED), *flags)
    found = json.loads((script.folder / "pos_neg.json.manifest.json").read_text())
    assert found["thresholds"] == thresholds


def test_d14_the_documented_targets_are_those_that_work(script: Script) -> None:
    script(lines(SCORED), "--unlearn_target", "objects")
    spans = read_span_samples(script.spans)
    assert [s.sentence[s.position :] for s in spans] == ["dog", "cat", "dog", "bed"]
    script.spans.unlink()
    script.sentences.unlink()
    assert "object" in script.refusal(lines(SCORED), "--unlearn_target", "object")


def test_dry_run_writes_nothing(script: Script) -> None:
    script(lines(SCORED), "--dry_run")
    assert not script.spans.exists() and not script.sentences.exists()


def test_a_set_that_is_empty_is_refused_with_the_counts_at_each_filter(script: Script) -> None:
    message = script.refusal(lines(SCORED[1:]))
    assert "no negatives (score below 23)" in message
    for part in ("captions 1", "objects 2", "spans 1", "conflicts 0", "positives 1", "negatives 0", "sentences 1"):
        assert part in message
    assert "no positives (score above 50)" in script.refusal(lines(SCORED), "--norm_clip_thres", "50")
    silent = lines([{**record, "objects": []} for record in SCORED])
    assert "no caption names an object" in script.refusal(silent)  # of no score no quantile can be told


def test_unscored_objects_are_refused(script: Script) -> None:
    message = script.refusal(lines(SCORED).replace("20.0", "null"))
    assert "'cat' of image a_1.jpg has no score" in message and "insight/clip.py" in message


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_scores_that_are_no_numbers_are_refused_with_the_line(value: str, script: Script) -> None:
    assert "scores.jsonl:1:" in script.refusal(lines(SCORED).replace("20.0", value))


def test_malformed_lines_are_refused_with_the_line(script: Script) -> None:
    assert "scores.jsonl:3: not JSON" in script.refusal(lines(SCORED) + "{broken\n")
    assert "scores.jsonl:2:" in script.refusal(lines(SCORED).replace('"bed"', '"bad"'))


def test_repeated_captions_are_refused(script: Script) -> None:
    assert "two captions of image a_2.jpg" in script.refusal(lines([*SCORED, SCORED[1]]))


def test_thresholds_in_the_wrong_order_are_refused(script: Script) -> None:
    assert "thresholds in the wrong order" in script.refusal(lines(SCORED), "--hal_clip_thres", "33")


def test_missing_files_and_flags_are_named(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["format_data.py", "--score_data_path", "no.jsonl"])
    with pytest.raises(SystemExit):
        run(format_data.main)
    assert "--pos_neg_data_path is needed" in script.capsys.readouterr().err
    with pytest.raises(ArgumentError, match="did you mean --score_data_path"):
        format_data.parse([format_data.FormatArguments], "", ["--score_data_pat", "x"])
