"""The object script around its extractor: order, resuming, what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from common.args import RunArguments
from common.cli import run
from common.errors import ArgumentError, DataError
from common.files.record_files import caption_key, locate_word, read_objects
from common.files.records import Caption, ObjectMention
from common.files.storage import ResumableLines
from common.objects.extractors import build_extractor
from insight import object as script

CAPTIONS = [Caption(f"{i}.jpg", i, f"A dog number {i}.") for i in range(7)]


class DogFinder:
    """An extractor that knows dogs, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        self.asked.append(list(captions))
        for caption in captions:
            found = locate_word(caption, "dog")
            yield (found,) if found else ()


def write_captions(path: Path, captions: Sequence[Caption]) -> Path:
    """A captions file."""
    lines = [json.dumps({"image": c.image, "image_id": c.image_id, "caption": c.caption}) for c in captions]
    path.write_text("\n".join(lines) + "\n")
    return path


def extract(path: Path, captions: Sequence[Caption], finder: DogFinder) -> bytes:
    """Run over the captions in batches of three; the file."""
    with ResumableLines(path, caption_key) as lines:
        script.extract_to_file(captions, finder, lines, batch_size=3)
    return path.read_bytes()


def test_records_follow_the_captions_with_null_scores(tmp_path: Path) -> None:
    extract(tmp_path / "o.jsonl", CAPTIONS, DogFinder())
    first = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])
    assert first == {
        "image": "0.jpg",
        "image_id": 0,
        "caption": "A dog number 0.",
        "objects": [{"text": "dog", "start": 2, "end": 5, "score": None}],
    }
    assert [r.image_id for r in read_objects(tmp_path / "o.jsonl")] == list(range(7))


@pytest.mark.parametrize("kept", range(7))
def test_d16_a_torn_file_is_continued_in_the_same_batches(kept: int, tmp_path: Path) -> None:
    whole = extract(tmp_path / "whole.jsonl", CAPTIONS, DogFinder())
    torn = tmp_path / "torn.jsonl"
    lines = whole.splitlines(keepends=True)
    torn.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
    finder = DogFinder()
    assert extract(torn, CAPTIONS, finder) == whole
    assert finder.asked[0] == [c.caption for c in CAPTIONS[kept // 3 * 3 :][:3]]
    again = DogFinder()
    assert extract(torn, CAPTIONS, again) == whole
    assert again.asked == []


def test_d15_an_error_of_the_extractor_is_not_swallowed(tmp_path: Path) -> None:
    class Failing(DogFinder):
        def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
            yield from super().extract(captions[:1])
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        extract(tmp_path / "o.jsonl", CAPTIONS, Failing())
    assert not (tmp_path / "o.jsonl").exists()


def test_start_and_end_choose_captions() -> None:
    assert script.selected(CAPTIONS, RunArguments(start_pos=2, end_pos=4), Path("c")) == CAPTIONS[2:4]
    with pytest.raises(ArgumentError, match="leave none of the 7 captions"):
        script.selected(CAPTIONS, RunArguments(start_pos=7), Path("c"))


def test_a_result_of_other_captions_is_not_continued(tmp_path: Path) -> None:
    extract(tmp_path / "o.jsonl", CAPTIONS[:3], DogFinder())
    script.check_begun(tmp_path / "o.jsonl", CAPTIONS)
    other = [Caption("1.jpg", 1, "Another text."), *CAPTIONS[2:], CAPTIONS[0]]
    with pytest.raises(DataError, match=r"begun from other captions \(image 1\.jpg\); add --restart"):
        script.check_begun(tmp_path / "o.jsonl", other)


def test_counts_of_a_result(tmp_path: Path) -> None:
    captions = [*CAPTIONS[:2], Caption("9.jpg", 9, "Nothing.")]
    extract(tmp_path / "o.jsonl", captions, DogFinder())
    assert script.counts(tmp_path / "o.jsonl") == {
        "captions": 3,
        "captions_without_object": 1,
        "mentions": 2,
        "distinct_objects": 1,
    }


@pytest.mark.parametrize(("name", "model"), [("llm", None), ("spacy", "folder"), ("nltk", None)])
def test_an_extractor_must_fit_its_model(name: str, model: str | None) -> None:
    with pytest.raises(ArgumentError, match=f"--extractor '?{name}"):
        build_extractor(name, model, "cpu", 10)


def refusal(argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The script's complaint; checks the exit code."""
    monkeypatch.setattr(sys, "argv", ["object.py", *argv])
    with pytest.raises(SystemExit) as stop:
        run(script.main)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "holds no captions"),
        ('{"image_id": 1, "caption": "a"}\n{"image_id": 1, "caption": "b"}\n', "two captions of image 1"),
        ('{"image_id": 1, "caption": "a"}\n{"image_id": 2}\n', "c.jsonl:2: no field caption or text"),
        ('{"image_id": 1, "caption": "a"}\n[1]\n', "c.jsonl:2: expected an object"),
        ('{"image_id": 1, "caption": "' + "a dog " * 20_000 + '"}\n', "image 1 has 120000 characters, at most"),
    ],
)
def test_malformed_captions_are_refused(
    text: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    target = tmp_path / "o.jsonl"
    argv = ["--caption_data_path", str(tmp_path / "c.jsonl"), "--object_data_path", str(target)]
    assert wanted in refusal(argv, monkeypatch, capsys)
    assert not target.exists()


def test_a_blank_caption_gets_a_record_without_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may produce one; it must not stop the others, nor vanish from the counts."""
    captions = [*CAPTIONS[:2], Caption("8.jpg", 8, ""), Caption("9.jpg", 9, " \n")]
    source, target = write_captions(tmp_path / "c.jsonl", captions), tmp_path / "o.jsonl"
    monkeypatch.setattr(script, "build_extractor", lambda *_: DogFinder())
    monkeypatch.setattr(sys, "argv", ["x", "--caption_data_path", str(source), "--object_data_path", str(target)])
    script.main()
    assert [(r.caption, len(r.objects)) for r in read_objects(target)][1:] == [
        ("A dog number 1.", 1),
        ("", 0),
        (" \n", 0),
    ]
    before = target.read_bytes()
    script.main()  # nothing is left to do, and the blank records are no reason to refuse
    assert target.read_bytes() == before


def test_missing_paths_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = write_captions(tmp_path / "c.jsonl", CAPTIONS)
    assert "--object_data_path is needed" in refusal(["--caption_data_path", str(captions)], monkeypatch, capsys)
    argv = ["--caption_data_path", "no.jsonl", "--object_data_path", "o.jsonl"]
    assert "no file no.jsonl (from --caption_data_path)" in refusal(argv, monkeypatch, capsys)


def test_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = write_captions(tmp_path / "c.jsonl", CAPTIONS)
    argv = ["object.py", "--caption_data_path", str(captions), "--object_data_path", str(tmp_path / "o.jsonl")]
    monkeypatch.setattr(sys, "argv", [*argv, "--dry_run"])
    script.main()
    assert [p.name for p in tmp_path.iterdir()] == ["c.jsonl"]
