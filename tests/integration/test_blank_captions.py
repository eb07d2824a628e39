"""A model that says nothing about a picture stops no step, and is lost in none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from common.files.storage import read_json
from common.paths import MINI_CLIP
from dataset.mini.draw import draw_split
from evaluate import eval_auto
from finetune import format_data
from insight import clip
from insight import object as objects

PICTURES = 12
WRONG = " A zebra and a giraffe."
BLANK = {1: "", 4: "  \n"}  # position in the file -> what the model said


@dataclass(frozen=True)
class Run:
    """A folder in which the steps are run."""

    root: Path
    patch: pytest.MonkeyPatch

    def step(self, module: ModuleType, **flags: object) -> None:
        """One script with these flags."""
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        self.patch.setattr("sys.argv", [module.__name__, *words])
        module.main()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Records of a JSON Lines file."""
        return [json.loads(line) for line in (self.root / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Some pictures, the first clean caption of each as if a model had said it, two of them blank."""
    draw_split(tmp_path, "train", 5, PICTURES)
    found = read_json(tmp_path / "train" / "annotations" / "captions_train.json")
    names = {entry["id"]: entry["file_name"] for entry in found["images"]}
    said = [annotation for annotation in found["annotations"] if annotation["id"] % 5 == 1]
    records = [
        {
            "image": names[a["image_id"]],
            "image_id": a["image_id"],
            "caption": BLANK.get(i, a["caption"] + WRONG * (i % 3 == 0)),
        }
        for i, a in enumerate(said)
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Run(tmp_path, monkeypatch)


def test_blank_captions_go_through_every_step(run: Run) -> None:
    root, auto = run.root, {f"{name}_clip_thres": "auto" for name in ("hal", "norm", "sentence")}
    run.step(objects, caption_data_path=root / "captions.jsonl", object_data_path=root / "objects.jsonl")
    run.step(
        clip, object_data_path=root / "objects.jsonl", score_data_path=root / "scores.jsonl", clip_model=MINI_CLIP,
        image_dir_path=root / "train" / "images", device="cpu", **auto,
    )  # fmt: skip
    run.step(
        format_data, score_data_path=root / "scores.jsonl", pos_neg_data_path=root / "spans.json",
        sentence_data_path=root / "sentences.json", **auto,
    )  # fmt: skip
    captions = run.lines("captions.jsonl")
    for name in ("objects.jsonl", "scores.jsonl"):
        records = run.lines(name)
        assert [r["caption"] for r in records] == [c["caption"] for c in captions]
        assert [i for i, r in enumerate(records) if not r["objects"]] == sorted(BLANK)
    bare = {captions[i]["image"] for i in BLANK}
    for name in ("spans.json", "sentences.json"):
        samples = read_json(root / name)
        assert samples and not {s["image"] for s in samples} & bare
    assert read_json(root / "spans.json.manifest.json")["counts"]["captions"] == len(captions)


def test_blank_captions_count_in_the_result(run: Run) -> None:
    run.step(
        eval_auto, caption_eval_path=run.root / "captions.jsonl", result_path=run.root / "result.json",
        annotation_path=run.root / "train" / "annotations",
    )  # fmt: skip
    result = read_json(run.root / "result.json")
    units = [dict(zip(result["units"]["columns"], row, strict=True)) for row in result["units"]["counts"]]
    assert result["n"] == len(units) == PICTURES
    assert [i for i, unit in enumerate(units) if unit["words"] == 0] == sorted(BLANK)
    assert all(units[i]["gold"] > 0 and units[i]["mentions"] == 0 for i in BLANK)
