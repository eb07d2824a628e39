"""`insight/clip.py` as a user runs it, on generated images and a tiny random model."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.files.record_files import objects_to_json, read_objects
from common.files.records import CaptionObjects, ObjectMention
from common.outputs.settings import settings_path
from common.paths import ROOT
from common.relevance.noted import NotedScorer, scorer_of_scores
from tests.clip_folder import make_clip_folder
from tests.forks.scripts import Script, run

CAPTION = "A red car stands by a wooden table and a dog."
OBJECTS = ("red car", "wooden table", "dog")
IMAGES = 60


@dataclass(frozen=True)
class Workspace:
    """Folder of one test with images, objects, annotations and a model."""

    root: Path

    def arguments(self, out: Path, *more: str) -> list[str]:
        """The command that scores the workspace into `out`."""
        given = {
            "--object_data_path": self.root / "objects.jsonl",
            "--image_dir_path": self.root / "images",
            "--gold_objects_path": self.root / "gold.json",
            "--clip_model": self.root / "clip",
            "--score_data_path": out,
            "--hal_clip_thres": "auto",
            "--norm_clip_thres": "auto",
            "--sentence_clip_thres": "auto",
            "--clip_bs": "4",
            "--device": "cpu",
        }
        words = [str(word) for pair in given.items() for word in pair]
        return [str(ROOT / "insight" / "clip.py"), *words, *more]

    def run(self, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the script to its end."""
        return run(self.arguments(out, *more))


def mention(name: str) -> ObjectMention:
    """The object where it stands in the caption."""
    start = CAPTION.index(name)
    return ObjectMention(name, start, start + len(name))


def write_records(path: Path, images: int, names: tuple[str, ...] = OBJECTS) -> None:
    """An objects file, one caption an image, two for every fifth."""
    lines = []
    for i in range(images):
        for sample in range(2 if i % 5 == 0 else 1):
            record = CaptionObjects(f"{i}.png", i, CAPTION, tuple(map(mention, names)), sample)
            lines.append(json.dumps(objects_to_json(record)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """Images of two sizes, objects of all, gold that knows a car and a dog in every second image."""
    root = tmp_path_factory.mktemp("clip")
    (root / "images").mkdir()
    random = np.random.default_rng(0)
    for i in range(IMAGES):
        small = Image.fromarray(random.integers(0, 255, (12, 15, 3), dtype=np.uint8))
        small.resize((300, 240) if i % 3 else (120, 96)).save(root / "images" / f"{i}.png")
    write_records(root / "objects.jsonl", IMAGES)
    (root / "gold.json").write_text(json.dumps({str(i): ["car", "dog"] if i % 2 else [] for i in range(IMAGES)}))
    make_clip_folder(root / "clip")
    return Workspace(root)


@pytest.fixture(scope="module")
def undisturbed(workspace) -> tuple[Path, str]:
    """The score file of a run that nothing disturbed, and what the run printed; a process that shares nothing."""
    out = workspace.root / "scores.jsonl"
    with Script(workspace.arguments(out), fresh=True) as script:
        assert script.wait() == 0, script.said()
        return out, script.said()[0]


def test_the_records_come_back_with_scores(workspace, undisturbed):
    before, after = read_objects(workspace.root / "objects.jsonl"), read_objects(undisturbed[0])
    assert [(r.key, r.caption) for r in before] == [(r.key, r.caption) for r in after]
    scores = [m.score for r in after for m in r.objects]
    assert all(s is not None and -100 <= s <= 100 and s == round(s, 4) for s in scores)
    assert len({m.score for r in after for m in r.objects if m.text == "dog"}) > IMAGES / 2


def test_two_captions_of_one_image_get_the_same_scores(undisturbed):
    first, second = [r for r in read_objects(undisturbed[0]) if r.image_id == 5]
    assert [m.score for m in first.objects] == [m.score for m in second.objects]


def test_the_report_and_the_manifest_agree(undisturbed):
    out, printed = undisturbed
    manifest = json.loads(Path(f"{out}.manifest.json").read_text())
    assert set(manifest["thresholds"]) == {"hallucinated", "grounded", "sentence"}
    assert f"AUROC {manifest['quality']['auroc']:.3f}" in printed
    # 72 captions, 36 of odd images with their car and dog, 36 of even ones with neither; a table is never there.
    assert manifest["quality"]["present"]["n"] == 2 * 36
    assert manifest["quality"]["hallucinated"]["n"] == 2 * 36 + 72
    assert manifest["counts"]["mentions"] == 216
    assert manifest["counts"]["hallucinated"] == pytest.approx(0.10 * 216, abs=3)
    assert manifest["model_hash"] == scorer_of_scores(out).weights
    assert scorer_of_scores(out).other_than(NotedScorer.of(str(out.parent / "clip"), None)) is None
    assert (out.parent / "density.png").stat().st_size > 10_000


def test_d15_d16_killed_half_way_and_run_again_gives_the_same_bytes(workspace, undisturbed):
    out = workspace.root / "killed" / "scores.jsonl"
    out.parent.mkdir()
    with Script(workspace.arguments(out)) as script:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 9):
            time.sleep(0.005)
        script.kill()
    lines = out.read_bytes().count(b"\n")
    assert 0 < lines < 72, "the kill came too late to test anything"
    out.write_bytes(out.read_bytes() + b'{"image": "torn')
    assert workspace.run(out).returncode == 0
    assert out.read_bytes() == undisturbed[0].read_bytes()


def test_whatever_line_the_kill_left_the_rest_is_the_same(workspace, undisturbed):
    whole = undisturbed[0].read_bytes()
    out = workspace.root / "cut.jsonl"
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:33]))  # in the middle of a group of four images
    refused = workspace.run(out)
    assert refused.returncode == 2 and "no cut.jsonl.settings.json beside it" in refused.stderr
    settings_path(out).write_bytes(settings_path(undisturbed[0]).read_bytes())
    assert workspace.run(out).returncode == 0
    assert out.read_bytes() == whole


def test_other_settings_do_not_continue_a_file(workspace, undisturbed):
    before = undisturbed[0].read_bytes()
    done = workspace.run(undisturbed[0], "--clip_mode", "image")
    assert (done.returncode, len(done.stderr.strip().splitlines()[-1:])) == (2, 1)
    assert "was begun with mode windows, now it is image; add --restart" in done.stderr
    assert undisturbed[0].read_bytes() == before


def test_whole_image_mode_gives_other_scores_for_large_images_only(workspace, undisturbed):
    out = workspace.root / "whole.jsonl"
    assert workspace.run(out, "--clip_mode", "image").returncode == 0
    for windows, whole in zip(read_objects(undisturbed[0]), read_objects(out), strict=True):
        same = [m.score for m in windows.objects] == [m.score for m in whole.objects]
        assert same == (windows.image_id % 3 == 0)


def test_dry_run_writes_nothing(workspace):
    out = workspace.root / "dry.jsonl"
    done = workspace.run(out, "--dry_run")
    assert done.returncode == 0
    assert "216 objects (3 distinct) of 72 captions on 60 images" in done.stderr
    assert not out.exists()


def test_help_answers_in_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "insight.clip", "--help"], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert "--clip_prompt" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # of the processor, load or not
