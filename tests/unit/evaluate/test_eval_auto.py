"""eval_auto.py and compare.py from file to file, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, DataError
from common.files.gold import missing_images, truth_from_file, truth_of
from common.files.record_files import read_captions
from evaluate import compare, eval_auto
from evaluate.chair.gold_cache import build, cache_key, truth_of_folder
from evaluate.chair.parser import ChairParser

CAPTIONS = [
    {"image_id": 1, "caption": "A dog and a cat sit on a sofa."},
    {"image_id": 2, "caption": "The mood is calm."},
    {"image_id": 3, "caption": "A car beside two bicycles."},
]
GOLD = {"1": ["dog", "couch"], "2": ["person"], "3": ["car", "bicycle"]}


def write(path: Path, value: Any) -> str:
    """JSON Lines for a list, else JSON; the path as text."""
    lines = "\n".join(json.dumps(v) for v in value) + "\n" if isinstance(value, list) else json.dumps(value)
    path.write_text(lines)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small COCO folder."""
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)]
    instances = [{"image_id": 1, "category_id": 18}, {"image_id": 3, "category_id": 3}]
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
    captions = [{"image_id": 1, "caption": "A puppy on a couch."}, {"image_id": 3, "caption": "Bikes near a van."}]
    write(annotations / "instances.json", {"images": images, "annotations": instances, "categories": categories})
    write(annotations / "captions.json", {"images": images, "annotations": captions})
    return annotations


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *argv: str) -> None:
    """The script's main with these arguments."""
    monkeypatch.setattr("sys.argv", ["script.py", *argv])
    module.main()


def score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, captions: list[dict[str, Any]], *more: str) -> Any:
    """The result of eval_auto.py on captions."""
    target = tmp_path / "result.json"
    path = write(tmp_path / "captions.jsonl", captions)
    run(monkeypatch, eval_auto, "--caption_eval_path", path, "--result_path", str(target), *more)
    return json.loads(target.read_text())


def test_scores_against_a_gold_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Mentions: dog cat couch, none, car bicycle. The cat alone is not there."""
    result = score(monkeypatch, tmp_path, CAPTIONS, "--gold_objects_path", write(tmp_path / "gold.json", GOLD))
    assert result["counts"] == {
        "captions": 3,
        "mentions": 5,
        "hallucinated": 1,
        "captions_with_hallucination": 1,
        "captions_with_references": 0,
    }
    assert result["scores"]["chair_s"] == pytest.approx(1 / 3)
    assert result["scores"]["chair_i"] == pytest.approx(1 / 5)
    assert result["scores"]["recall"] == pytest.approx(4 / 5)
    assert "bleu_1" not in result["scores"]
    assert result["intervals"]["chair_i"][0] <= 0.2 <= result["intervals"]["chair_i"][1]
    assert result["manifest"]["image_ids"] == [1, 2, 3]


def test_scores_against_annotations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    """The couch and the bicycles are known from the reference captions, dog and car from the instances."""
    result = score(monkeypatch, tmp_path, CAPTIONS, "--annotation_path", str(folder))
    assert result["counts"]["hallucinated"] == 1
    assert result["counts"]["captions_with_references"] == 2
    assert 0 < result["scores"]["bleu_1"] < 1


def test_paper_mode_says_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, capsys: Any) -> None:
    result = score(monkeypatch, tmp_path, CAPTIONS, "--annotation_path", str(folder), "--chair_mode", "paper")
    assert "not comparable with standard" in result["definition"]
    assert {"paper_bleu_1", "paper_distinct_1"} <= set(result["scores"])
    assert "characters instead of words" in capsys.readouterr().err


def test_a_blank_caption_is_scored_as_one_that_names_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, capsys: Any
) -> None:
    """Leaving it out would hide from the rates what unlearning broke."""
    captions = [CAPTIONS[0], {"image_id": 3, "caption": ""}]
    result = score(monkeypatch, tmp_path, captions, "--annotation_path", str(folder))
    assert "1 of 2 captions are blank" in capsys.readouterr().err
    assert result["counts"]["captions"] == 2
    assert result["scores"]["chair_s"] == 0.5  # the cat, of two captions
    assert result["scores"]["words"] == len(["A", "dog", "and", "a", "cat", "sit", "on", "a", "sofa."]) / 2
    assert result["scores"]["recall"] == 0.5  # dog and couch of dog, couch, car, bicycle
    with pytest.raises(DataError, match=r"all 1 captions of .* are blank"):
        score(monkeypatch, tmp_path, captions[1:], "--annotation_path", str(folder))


def test_images_without_ground_truth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.json", {"1": ["dog"]})
    with pytest.raises(DataError, match=r"2 captioned images have no ground truth in .*: 2, 3; "):
        score(monkeypatch, tmp_path, CAPTIONS, "--gold_objects_path", gold)
    result = score(monkeypatch, tmp_path, CAPTIONS, "--gold_objects_path", gold, "--allow_missing")
    assert result["n"] == 1
    assert result["manifest"]["images_without_ground_truth"] == [2, 3]
    with pytest.raises(DataError, match="none of the 1"):
        missing_images([5], {}, True, "gold.json")


def test_malformed_lines_name_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image_id": 1, "caption": "a"}\n{"image_id": 2, "capt')
    with pytest.raises(DataError, match=r"captions.jsonl:2: not JSON"):
        read_captions(path)
    path.write_text("")
    with pytest.raises(DataError, match="holds no captions"):
        read_captions(path)


def test_unusable_gold_files_name_the_entry(tmp_path: Path) -> None:
    for value in ({"1": ["dog"], "2": "dog"}, {"1": ["dog"], "2": [3]}, {"1": ["dog"], "2": ["unicorn"]}):
        with pytest.raises(DataError, match="entry '2'"):
            truth_from_file(write(tmp_path / "gold.json", value), ChairParser())
    with pytest.raises(DataError, match="expected a JSON object"):
        truth_from_file(write(tmp_path / "gold.json", [1]), ChairParser())


def test_ground_truth_is_needed_with_captions_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--annotation_path or --gold_objects_path"):
        score(monkeypatch, tmp_path, CAPTIONS)


def test_large_folders_are_cached_by_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("evaluate.chair.gold_cache.CACHED_FROM", 0)
    first = truth_of_folder(folder, "standard", None, lambda _: [1, 3])
    kept = list((tmp_path / "cache" / "efuf").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr("evaluate.chair.gold_cache.build", lambda *_: pytest.fail("built again"))
    again = truth_of_folder(folder, "standard", None, lambda _: [1, 3])
    assert again.objects == dict(first.objects)
    assert dict(again.references) == dict(first.references)
    assert (again.known.pairs, again.lacking) == (first.known.pairs, first.lacking)
    files = sorted(folder.iterdir())
    before = cache_key(files, "standard", None)
    files[0].write_text(files[0].read_text() + " ")
    assert cache_key(files, "standard", None) != before
    assert cache_key(files, "paper", None) != cache_key(files, "standard", None)


def test_parallel_building_changes_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from common.files.coco import read_annotations

    annotations = read_annotations(folder)
    alone = truth_of(annotations, ChairParser(), "here").objects
    monkeypatch.setattr("evaluate.chair.gold_cache._PARALLEL_FROM", 0)
    assert build(annotations, "standard", None) == alone


def compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """Two results over the same images; the second caption file names no cat."""
    gold = write(tmp_path / "gold.json", GOLD)
    paths = []
    for name, text in (("base", CAPTIONS[0]["caption"]), ("after", "A dog sits on a sofa.")):
        score(monkeypatch, tmp_path, [{"image_id": 1, "caption": text}, *CAPTIONS[1:]], "--gold_objects_path", gold)
        paths.append((tmp_path / "result.json").rename(tmp_path / f"{name}.json"))
    return paths[0], paths[1]


def test_compare_prints_and_writes_differences(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = compared(monkeypatch, tmp_path)
    capsys.readouterr()
    compare.main([str(first), str(second), "--result_path", str(tmp_path / "c.json")])
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["differences"]["chair_s"]["difference"] == pytest.approx(-1 / 3)
    assert found["mcnemar"] == {"only_first": 1, "only_second": 0, "p": 1.0}
    assert "| chair_s | 33.33 % | 0.00 % | -33.33 % |" in capsys.readouterr().out
    write(tmp_path / "c.json", {"mine": 1})
    with pytest.raises(DataError, match="is there already"):
        compare.main([str(first), str(second), "--result_path", str(tmp_path / "c.json")])
    assert json.loads((tmp_path / "c.json").read_text()) == {"mine": 1} and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"definition": "other"}, "different definitions"),
        ({"version": "chair-0"}, "different versions"),
        ({"task": "pope"}, "different tasks"),
    ],
)
def test_compare_refuses_other_measures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    first, second = compared(monkeypatch, tmp_path)
    write(second, json.loads(second.read_text()) | change)
    with pytest.raises(DataError, match=message):
        compare.main([str(first), str(second)])


def test_compare_refuses_other_images_and_prompts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = compared(monkeypatch, tmp_path)
    value = json.loads(second.read_text())
    write(second, value | {"units": value["units"] | {"ids": ["1/0", "2/0", "9/0"]}})
    with pytest.raises(DataError, match="1 only in the first, 1 only in the second"):
        compare.main([str(first), str(second)])
    *columns, last = value["units"]["columns"]  # as of a result from before that was counted
    counts = [row[:-1] for row in value["units"]["counts"]]
    write(second, value | {"units": value["units"] | {"columns": columns, "counts": counts}})
    with pytest.raises(DataError, match=f"count different things of their items: {last} in one of them only"):
        compare.main([str(first), str(second)])
    for path, prompt in ((first, "Describe."), (second, "List.")):
        value = json.loads(path.read_text())
        write(path, value | {"manifest": value["manifest"] | {"captioning": {"prompt": prompt}}})
    with pytest.raises(DataError, match="different captionings"):
        compare.main([str(first), str(second)])


def test_e9_results_carry_settings_versions_and_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.json", GOLD)
    manifest = score(monkeypatch, tmp_path, CAPTIONS, "--gold_objects_path", gold, "--seed", "4")["manifest"]
    assert manifest["arguments"]["seed"] == 4
    assert {"python", "nltk"} <= set(manifest["versions"])


def test_compare_wants_results_with_items(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", {"task": "chair", "manifest": {}})
    with pytest.raises(DataError, match="not a result with its items"):
        compare.main([path, path])
    with pytest.raises(ArgumentError, match="--help"):
        compare.main([path])
