"""`dataset/prepare.py`: what is missing is named, and nothing is missing when nothing is."""

from __future__ import annotations

import json

import pytest

from common.errors import ArgumentError, DataError
from dataset import prepare
from dataset.expected_files import KINDS, LAYOUTS, Expected

FEW = (
    Expected("images/train2014", "images", "somewhere", images=2),
    Expected("images/val2014", "more images", "elsewhere", images=2, optional=True),
    Expected("annotations/instances_train2014.json", "objects", "somewhere"),
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call the script on a small layout; returns what it printed, or raises."""
    monkeypatch.setitem(LAYOUTS, "coco", FEW)
    monkeypatch.setitem(LAYOUTS, "published", (LAYOUTS["published"][0], LAYOUTS["published"][1], FEW[0]))

    def call(kind: str) -> str:
        monkeypatch.setattr("sys.argv", ["prepare.py", "--kind", kind, "--root", str(tmp_path)])
        try:
            prepare.main()
        finally:
            call.printed = capsys.readouterr().out
        return call.printed

    return call


def fill(root, names=("COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg")):
    """The needed part of the small layout."""
    (root / "images" / "train2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    for name in names:
        (root / "images" / "train2014" / name).write_bytes(b"x")
    (root / "annotations" / "instances_train2014.json").write_text("{}")


def test_complete_data_passes_and_optional_parts_are_only_told(tmp_path, run):
    fill(tmp_path)
    lines = run("coco").splitlines()
    assert lines[0].split()[0] == "ok"
    assert [line.split()[0] for line in lines if "val2014" in line] == ["optional"]
    assert not [line for line in lines if line.startswith("MISSING")]


def test_what_is_missing_is_named_with_its_source(tmp_path, run):
    fill(tmp_path, names=["COCO_train2014_000000000001.jpg", "notes.txt"])
    (tmp_path / "annotations" / "instances_train2014.json").write_text("")  # an empty file is no file
    with pytest.raises(DataError, match=r"2 of 3 parts of 'coco' are missing or incomplete in .*"):
        run("coco")
    assert "1 of 2 images" in run.printed
    assert "MISSING  annotations/instances_train2014.json" in run.printed
    assert "get it from somewhere" in run.printed


def test_published_files_must_parse_and_their_images_be_there(tmp_path, run):
    fill(tmp_path)
    span = {"image": "COCO_train2014_000000000001.jpg", "sentence": "A dog.", "position": 2, "score": 20.0}
    sentence = {"image": "COCO_train2014_000000000002.jpg", "sentence": "A dog.", "mean": 30.0, "min": 29.0}
    (tmp_path / "pos_neg.json").write_text(json.dumps([span]))
    (tmp_path / "sentences.json").write_text(json.dumps([sentence]))
    assert "1 entries, 0 of their images not there" in run("published")
    (tmp_path / "sentences.json").write_text(json.dumps([sentence | {"image": "COCO_train2014_000000000009.jpg"}]))
    with pytest.raises(DataError, match="1 of 5 parts"):
        run("published")
    assert "the first is COCO_train2014_000000000009.jpg" in run.printed
    (tmp_path / "pos_neg.json").write_text(json.dumps([span | {"position": 99}]))
    with pytest.raises(DataError, match="2 of 5 parts"):
        run("published")
    assert "position 99 is outside the sentence" in run.printed


def test_every_kind_of_an_empty_folder_misses_all_that_is_needed(tmp_path, monkeypatch, capsys):
    for kind in KINDS:
        monkeypatch.setattr("sys.argv", ["prepare.py", "--kind", kind, "--root", str(tmp_path)])
        needed = [part for part in LAYOUTS[kind] if not part.optional]
        with pytest.raises(DataError, match=f"^{len(needed)} of {len(LAYOUTS[kind])} parts of '{kind}'"):
            prepare.main()
        printed = capsys.readouterr().out
        assert all(part.path in printed and part.source in printed for part in needed)


def test_a_wrong_root_or_kind_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prepare.py", "--root", "nowhere"])
    with pytest.raises(DataError, match=r"no folder nowhere \(from --root\)"):
        prepare.main()
    monkeypatch.setattr("sys.argv", ["prepare.py", "--kind", "cocoa"])
    with pytest.raises(ArgumentError, match="cocoa"):
        prepare.main()
