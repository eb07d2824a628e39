"""What `insight/clip.py` says to bad input: one line, the value, its flag, what to do; nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from common.errors import ArgumentError, DataError, UserError
from common.files.record_files import read_objects
from insight import clip
from tests.clip_folder import make_clip_folder

CAPTION = "A dog and a car."
DOG = {"text": "dog", "start": 2, "end": 5, "score": None}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images, one caption each, and a model."""
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 10, 200)).save(tmp_path / "images" / f"{i}.png")
    write(tmp_path, [record(i) for i in range(3)])
    make_clip_folder(tmp_path / "clip")
    return tmp_path


def record(number: int, **changes: object) -> dict[str, object]:
    """An objects record."""
    return {"image": f"{number}.png", "image_id": number, "caption": CAPTION, "objects": [DOG]} | changes


def write(folder: Path, records: list[dict[str, object]]) -> None:
    """The objects file."""
    (folder / "objects.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def run(folder: Path, monkeypatch, **changes: str) -> None:
    """Call the script's main with flags changed."""
    flags = {
        "object_data_path": folder / "objects.jsonl",
        "image_dir_path": folder / "images",
        "score_data_path": folder / "scores.jsonl",
        "clip_model": folder / "clip",
        "device": "cpu",
    } | changes
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    monkeypatch.setattr("sys.argv", ["clip.py", *words])
    clip.main()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"object_data_path": "nowhere.jsonl"}, DataError, r"no file nowhere\.jsonl \(from --object_data_path\)"),
        ({"image_dir_path": "nowhere"}, DataError, r"no folder nowhere \(from --image_dir_path\)"),
        ({"annotation_path": "nowhere"}, DataError, r"nowhere \(from --annotation_path\)"),
        ({"gold_objects_path": "nowhere.json"}, DataError, r"nowhere\.json \(from --gold_objects_path\)"),
        ({"synonyms_path": "nowhere.txt"}, DataError, r"nowhere\.txt"),
        ({"caption_data_path": "nowhere.txt"}, DataError, r"nowhere\.txt \(from --caption_data_path\)"),
        ({"clip_model": "ViT-B-33"}, UserError, "did you mean ViT-B-32"),
        ({"clip_prompt": "a photo"}, ArgumentError, r"--clip_prompt 'a photo' has no \{object\}"),
        ({"clip_mode": "window"}, ArgumentError, "window"),
        ({"clip_bs": "0"}, ArgumentError, "--clip_bs is 0"),
        ({"device": "cuda:7"}, ArgumentError, "no device cuda:7"),
        ({"hal_clip_thres": "35"}, ArgumentError, "wrong order"),
        ({"hal_clip_thres": "low"}, ArgumentError, "give a number or auto"),
        ({"clip_modell": "x"}, ArgumentError, "did you mean --clip_model"),
    ],
)
def test_bad_flags(folder, monkeypatch, changes, kind, message):
    with pytest.raises(kind, match=message) as error:
        run(folder, monkeypatch, **changes)
    assert "\n" not in str(error.value)
    assert not (folder / "scores.jsonl").exists()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(0), record(9)], r"image 9\.png is not in .*--image_dir_path"),
        ([record(0), record(0)], r"objects\.jsonl: two captions of image 0\.png"),
        ([record(0, objects=[])], "no object to score in 1 captions"),
        ([record(0, objects=[DOG | {"start": 3, "end": 6}])], r"objects\.jsonl:1: object 'dog' is not at 3:6"),
        ([record(0), {"image": "1.png", "image_id": 1}], r"objects\.jsonl:2: no field caption"),
        ([record(0, objects=[DOG | {"score": float("nan")}])], r"jsonl:1: objects\.0\.score is not a finite number"),
    ],
)
def test_bad_records(folder, monkeypatch, records, message):
    write(folder, records)
    with pytest.raises(DataError, match=message):
        run(folder, monkeypatch)
    assert not (folder / "scores.jsonl").exists()


def test_own_objects_need_their_images(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["clip.py", "--object_data_path", str(folder / "objects.jsonl")])
    with pytest.raises(DataError, match="--image_dir_path is needed"):
        clip.main()


def test_the_objects_file_is_not_overwritten(folder, monkeypatch):
    before = (folder / "objects.jsonl").read_bytes()
    with pytest.raises(ArgumentError, match="choose another name"):
        run(folder, monkeypatch, score_data_path=folder / "objects.jsonl")
    assert (folder / "objects.jsonl").read_bytes() == before


def test_grey_and_transparent_images_are_converted(folder, monkeypatch):
    Image.new("L", (64, 48), 90).save(folder / "images" / "0.png")
    Image.new("RGBA", (64, 48), (9, 9, 9, 0)).save(folder / "images" / "1.png")
    run(folder, monkeypatch)
    assert len(read_objects(folder / "scores.jsonl")) == 3


def test_a_truncated_image_among_few_fails_the_run_and_is_named(folder, monkeypatch):
    path = folder / "images" / "1.png"
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(DataError, match=r"1 of 3 images .*more than 1 %.*1\.png"):
        run(folder, monkeypatch)
    assert not (folder / "scores.jsonl.manifest.json").exists()


def test_a_truncated_image_among_many_is_skipped_and_listed(folder, monkeypatch, capsys):
    data = (folder / "images" / "0.png").read_bytes()
    for i in range(150):
        (folder / "images" / f"{i}.png").write_bytes(data if i != 77 else data[:70])
    write(folder, [record(i) for i in range(150)])
    run(folder, monkeypatch)
    assert len(read_objects(folder / "scores.jsonl")) == 149
    manifest = json.loads((folder / "scores.jsonl.manifest.json").read_text())
    assert list(manifest["lost_images"]) == ["77.png"]
    assert "1 images could not be read" in capsys.readouterr().err


def test_d9_long_objects_leave_the_file_and_are_counted(folder, monkeypatch):
    long = "a very very very very very very very very very long thing"
    caption = f"A dog and {long}."
    objects = [DOG, {"text": long, "start": 10, "end": 10 + len(long), "score": None}]
    write(folder, [record(0, caption=caption, objects=objects), record(1), record(2)])
    run(folder, monkeypatch)
    assert [len(r.objects) for r in read_objects(folder / "scores.jsonl")] == [1, 1, 1]
    manifest = json.loads((folder / "scores.jsonl.manifest.json").read_text())
    assert manifest["input_counts"]["dropped_objects"] == 1


def test_d12_the_figure_has_its_own_option_and_needs_no_run_name(folder, monkeypatch):
    run(folder, monkeypatch, figure_path=folder / "figure_without_run_name.png")
    assert (folder / "figure_without_run_name.png").exists()
    assert not (folder / "density.png").exists()
