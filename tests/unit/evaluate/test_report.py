"""The report: its numbers are those of the scripts, its text is text, and what does not belong together is refused."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from common.errors import ArgumentError, DataError, UserError
from evaluate import compare, eval_auto, report
from evaluate.report_page.arguments import named
from evaluate.results.scoring import number
from tests.report_world import HOSTILE, LONG, ReportWorld, make_world

WORDS = {1: (HOSTILE, HOSTILE), 2: (LONG, "A dog.")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ReportWorld:
    """Twelve pictures."""
    return make_world(tmp_path_factory.mktemp("report") / "world", 12)


def call(module: Any, *argv: object, patch: pytest.MonkeyPatch) -> None:
    """A script with a command line."""
    patch.setattr("sys.argv", ["script.py", *map(str, argv)])
    module.main()


@pytest.fixture(scope="module")
def results(world: ReportWorld) -> tuple[Path, Path]:
    """Results of both caption files."""
    patch = pytest.MonkeyPatch()
    for which in ("before", "after"):
        flags = ("--caption_eval_path", world.captions(which), "--gold_objects_path", world.gold)
        call(eval_auto, *flags, "--result_path", world.folder / f"{which}.json", patch=patch)
    patch.undo()
    return world.folder / "before.json", world.folder / "after.json"


def make(tmp_path: Path, *argv: object) -> str:
    """The page of a command line."""
    path = tmp_path / "report.html"
    report.main([*map(str, argv), "--report_path", str(path)])
    return path.read_text(encoding="utf-8")


def cells(html: str) -> dict[str, list[str]]:
    """Score -> texts of its row: value before, after, difference, their intervals, p."""
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", html, flags=re.S):
        name = re.search(r"<code>(\w+)</code>", row)
        if name:
            texts = re.sub(r"<svg.*?</svg>|<[^>]+>", "\n", row, flags=re.S)
            plain = unescape(texts).replace("\u00a0", " ").replace("−", "-")
            found[name[1]] = [line.strip() for line in plain.splitlines() if line.strip()][2:]
    return found


def test_numbers_equal_those_of_the_scripts(
    results: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = make(tmp_path, *results)
    call(compare, *results, "--result_path", tmp_path / "c.json", patch=monkeypatch)
    stored = json.loads((tmp_path / "c.json").read_text())
    one, two = (json.loads(path.read_text()) for path in results)
    shown = cells(html)
    assert shown.keys() == stored["differences"].keys()
    for name, d in stored["differences"].items():
        row = shown[name]
        assert row[0] == number(name, one["scores"][name]) == number(name, d["first"])
        assert row[2] == number(name, two["scores"][name]) == number(name, d["second"])
        assert row[4].lstrip("+") == number(name, d["difference"]) and row[6] == f"{d['p']:.3f}"
        for text, (low, high) in ((row[1], one["intervals"][name]), (row[5], (d["low"], d["high"]))):
            assert text == f"{number(name, low).removesuffix(' %')} to {number(name, high)}"
    events = stored["mcnemar"]
    assert f"{events['only_first']} captions had something invented only before, {events['only_second']}" in html
    assert "4 captions invent less than they did, 0 invent more, 8 as much" in html  # every third of twelve is mended


def test_one_result_and_captions_alone_give_the_same_numbers(
    world: ReportWorld, results: tuple[Path, Path], tmp_path: Path
) -> None:
    stored = json.loads(results[0].read_text())
    flags = ("--gold_objects_path", world.gold)
    for html in (make(tmp_path, results[0]), make(tmp_path, world.captions("before"), *flags)):
        shown = cells(html)
        assert {name: row[0] for name, row in shown.items()} == {n: number(n, v) for n, v in stored["scores"].items()}
    both = make(tmp_path, world.captions("before"), world.captions("after"), *flags)
    assert cells(both) == cells(make(tmp_path, *results))


def test_objects_are_counted_before_and_after(results: tuple[Path, Path], tmp_path: Path) -> None:
    html = make(tmp_path, *results)
    table = html[html.index('id="objects"') : html.index('id="curves"')]
    rows = re.findall(r"<tr>\s*<th scope=\"row\">(.*?)</th>(.*?)</tr>", table, flags=re.S)
    invented = [[int(n) for n in re.findall(r'<td class="n">(\d+)</td>', row)] for _, row in rows]
    stored = [json.loads(path.read_text())["counts"] for path in results]
    for side, counts in enumerate(stored):
        assert sum(row[side] for row in invented) == counts["mentions"]
        assert sum(row[2 + side] for row in invented) == counts["hallucinated"]


def test_scores_and_trained_parts_are_shown(world: ReportWorld, results: tuple[Path, Path], tmp_path: Path) -> None:
    html = make(tmp_path, *results, "--score_data_paths", world.scores, "--pos_neg_data_path", world.spans)
    assert "score 35.0, above the grounded threshold" in html
    assert "Training lowered 12 sub-sentences and raised 0." in html
    assert re.search(r'class="lowered"[^>]*>[^<]* and a </mark><mark class="lowered hal', html)


class Elements(HTMLParser):
    """Names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.names.append(tag)


def test_text_is_never_markup(tmp_path: Path) -> None:
    """With hostile captions the page has the elements of the same captions in harmless letters, marks aside."""
    pages = []
    for number_, words in enumerate((WORDS, {1: ("A dog and a cat, a hot dog, a dog.",) * 2, 2: (LONG, "A dog.")})):
        world = make_world(tmp_path / str(number_), 3, words)
        names = Elements(make(tmp_path, world.captions("before"), world.captions("after"))).names
        pages.append({name: names.count(name) for name in ("script", "style", "img", "b", "article", "svg")})
    assert pages[0] == pages[1]
    html = make(tmp_path, tmp_path / "0" / "before.jsonl")
    assert "⟨U+202E⟩gnp.god⟨U+202C⟩" in html and "{{ 7*7 }}" in html and "&lt;script&gt;alert" in html
    assert "more characters are in the file" in html and len(html) < 1_000_000


def test_without_truth_the_page_says_so(world: ReportWorld, tmp_path: Path) -> None:
    html = make(tmp_path, world.captions("before"), world.captions("after"), "--score_data_paths", world.scores)
    assert "No ground truth was given" in html and 'class="named"' in html
    assert not re.search(r'class="(hal|grd)[" ]', html) and 'class="score low"' in html


def test_missing_pictures_are_placeholders_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "w", 5)
    (world.images / "photo_000002.png").unlink()
    (world.images / "photo_000004.png").write_bytes(b"broken")
    html = make(tmp_path, world.captions("before"), "--image_dir_path", world.images)
    assert html.count("data:image/webp") == 3 and html.count('aria-label="No picture:') == 2
    assert "2 of 5 pictures are missing and shown as placeholders" in html
    assert "2 of 5 pictures are missing" in capsys.readouterr().err


def test_pictures_are_found_by_number_where_captions_have_no_names(world: ReportWorld, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"image_id": 3, "caption": "A dog."}\n{"image_id": 99, "caption": "A cat."}\n')
    html = make(tmp_path, tmp_path / "c.jsonl", "--image_dir_path", world.images)
    assert html.count("data:image/webp") == 1 and "1 of 2 pictures are missing" in html


def test_training_its_probe_and_the_scores_by_truth_are_drawn(
    world: ReportWorld, results: tuple[Path, Path], tmp_path: Path
) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    log = [{"step": step, "loss": 1 / step, "eval_loss": 2 / step, "learning_rate": 1e-5} for step in (1, 2, 3)]
    (trained / "trained.safetensors.manifest.json").write_text(json.dumps({"log": log}))
    probes = [{"step": step, "share": 0.3 / step, "mentions": 4.0, "repetition": None} for step in (1, 2)]
    (trained / "probe.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes))
    noted = {"arguments": {"gold_objects_path": str(world.gold)}, "thresholds": {"hallucinated": 20, "grounded": 30}}
    scores = tmp_path / "scores.jsonl"
    records = [json.loads(line) for line in world.scores.read_text().splitlines()]
    for number_, record in enumerate(records):
        for mention in record["objects"]:
            mention["score"] += number_ / 10
    scores.write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "scores.jsonl.manifest.json").write_text(json.dumps(noted))
    html = make(tmp_path, *results, "--trained_path", trained, "--score_data_paths", scores)
    assert "Losses: loss over step, loss, loss (validation)" in html
    assert "Probe, without labels: share over step, mentions below the threshold" in html
    said = {kind: int(count) for kind, count in re.findall(r"((?:not )?in the picture) \((\d+)\)", html)}
    counts = json.loads(results[0].read_text())["counts"]
    assert said == {
        "not in the picture": counts["hallucinated"],
        "in the picture": counts["mentions"] - counts["hallucinated"],
    }


def test_more_captions_than_are_shown_are_a_sample_of_all(world: ReportWorld, tmp_path: Path) -> None:
    html = make(tmp_path, world.captions("before"), "--captions_shown", 5, "--seed", 3)
    assert html.count("<article") == 5 and "5 of 12 captions, drawn by chance (seed 3)" in html
    assert html == make(tmp_path, world.captions("before"), "--captions_shown", 5, "--seed", 3)


def test_figures_are_files_of_ours(results: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    make(tmp_path, *results, "--figures", folder)
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        f"{name}.{kind}" for name in ("lengths", "numbers") for kind in ("svg", "png")
    }
    assert (folder / "numbers.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (folder / "lengths.svg").write_text("<svg>mine</svg>")
    page = tmp_path / "report.html"
    page.unlink()
    with pytest.raises(DataError, match="is there already"):
        make(tmp_path, *results, "--figures", folder)
    assert (folder / "lengths.svg").read_text() == "<svg>mine</svg>" and not page.exists()


def refused(tmp_path: Path, *argv: object) -> str:
    """The line with which a command line is refused; nothing is written."""
    with pytest.raises(UserError) as found:
        make(tmp_path, *argv)
    assert not (tmp_path / "report.html").exists()
    return str(found.value)


def test_what_does_not_belong_together_is_refused(
    world: ReportWorld, results: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = ("--gold_objects_path", world.gold)
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(world.captions("after").read_text().splitlines(keepends=True)[:-2]))
    assert "over different items: 2 only in the first" in refused(tmp_path, world.captions("before"), fewer)
    assert "over different items: 2 only in the first" in refused(tmp_path, world.captions("before"), fewer, *gold)
    flags = ("--caption_eval_path", world.captions("after"), *gold, "--chair_mode", "paper")
    call(eval_auto, *flags, "--result_path", tmp_path / "paper.json", patch=monkeypatch)
    assert "have different definitions" in refused(tmp_path, results[0], tmp_path / "paper.json")
    old = json.loads(results[1].read_text()) | {"version": "chair-1"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert "different versions: 'chair-1'" in refused(tmp_path, results[0], tmp_path / "old.json")
    wrong = json.loads(results[1].read_text())
    wrong["scores"]["chair_i"] += 0.01
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    assert "was changed since" in refused(tmp_path, results[0], tmp_path / "wrong.json")
    assert "one is judged against ground truth" in refused(tmp_path, results[0], world.captions("after"))


def test_what_is_half_written_or_something_else_is_refused(
    world: ReportWorld, results: tuple[Path, Path], tmp_path: Path
) -> None:
    half = tmp_path / "half.json"
    half.write_text(results[0].read_text()[:500])
    assert "half written" in refused(tmp_path, half, results[1])
    begun = tmp_path / "begun.jsonl"
    begun.write_text(world.captions("before").read_text())
    (tmp_path / "begun.jsonl.settings.json").write_text('{"step": "evaluate.eval_caption"}')
    assert "begun.jsonl is half written" in refused(tmp_path, begun)
    run = tmp_path / "run"
    run.mkdir()
    assert "is no run folder" in refused(tmp_path, run)
    (run / "result_base.json").write_text(results[0].read_text())
    (run / "captions_unlearned.jsonl").write_text("{}\n")
    assert "is half written: no result_unlearned.json" in refused(tmp_path, run)
    (tmp_path / "other.json").write_text('{"differences": {}}')
    assert "is neither a result" in refused(tmp_path, tmp_path / "other.json")
    (tmp_path / "cut.jsonl").write_text(world.captions("before").read_text()[:-20])
    assert "cut.jsonl:12" in refused(tmp_path, tmp_path / "cut.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    assert "is empty" in refused(tmp_path, tmp_path / "empty.jsonl")


def test_a_target_that_is_no_page_of_ours_stays(world: ReportWorld, tmp_path: Path) -> None:
    target = tmp_path / "mine.html"
    target.write_text("<!doctype html><title>mine</title>")
    captions = str(world.captions("before"))
    with pytest.raises(DataError, match="is there already"):
        report.main([captions, "--report_path", str(target)])
    with pytest.raises(ArgumentError, match="is an input"):
        report.main([captions, "--report_path", captions])
    assert target.read_text() == "<!doctype html><title>mine</title>"


def test_a_run_folder_that_was_moved_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_world(tmp_path / "first", 4)
    for old, new in (("before", "base"), ("after", "unlearned")):
        first.captions(old).rename(first.folder / f"captions_{new}.jsonl")
        flags = ("--caption_eval_path", first.folder / f"captions_{new}.jsonl", "--gold_objects_path", first.gold)
        call(eval_auto, *flags, "--result_path", first.folder / f"result_{new}.json", patch=monkeypatch)
    first.folder.rename(tmp_path / "second")
    report.main([str(tmp_path / "second")])
    assert (tmp_path / "second" / "report.html").read_text().count("<article") == 4


def test_bare_words_are_results_wherever_they_stand() -> None:
    assert named(["a.json", "--seed", "1", "b.json"]) == ["--seed", "1", "--results", "a.json", "b.json"]
    assert named(["a", "--allow_missing", "b"]) == ["--allow_missing", "--results", "a", "b"]
    assert named(["a", "--score-data-paths", "s", "t", "--seed=1", "b"]) == [
        *("--score-data-paths", "s", "t", "--seed=1", "--results", "a", "b")
    ]


def test_a_long_run_of_one_caption_is_fast(tmp_path: Path) -> None:
    """A caption of 100,000 characters is cut on the page but counted whole."""
    world = make_world(tmp_path / "w", 2, {1: (LONG, LONG)})
    html = make(tmp_path, world.captions("before"), "--gold_objects_path", world.gold)
    mentions = cells(html)["mentions_per_caption"][0]
    assert float(mentions) == pytest.approx((16_667 + 2) / 2)


def test_a_page_of_long_captions_shows_less_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path / "w", 4, dict.fromkeys(range(1, 5), (LONG[:6000], LONG[:3000])))
    captions = [world.captions(which) for which in ("before", "after")]
    whole = make(tmp_path, *captions)
    monkeypatch.setattr("evaluate.report_page.build.LARGEST", len(whole) // 2)
    less = make(tmp_path, *captions)
    assert len(less) <= len(whole) // 2 and less.count("more characters are in the file") == 8


def test_captions_of_different_prompts_are_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w", 3)
    for which in ("before", "after"):
        beside = world.captions(which).with_name(f"{which}.jsonl.manifest.json")
        beside.write_text(json.dumps({"prompt": f"Describe, {which}.", "decoding": {"num_beams": 1}}))
    captions = [world.captions(which) for which in ("before", "after")]
    assert "have different captionings" in refused(tmp_path, *captions)
    assert "have different captionings" in refused(tmp_path, *captions, "--gold_objects_path", world.gold)


def test_other_benchmarks_stand_beside(results: tuple[Path, Path], tmp_path: Path) -> None:
    units = {"columns": ["questions", "right", "unparseable"], "ids": ["1", "2", "3"]}
    for which, rights in (("p1", (0, 1, 0)), ("p2", (1, 1, 0))):
        value = {
            **{"task": "gqa", "definition": "as llava", "version": "gqa-2", "n": 3, "scores": {"accuracy": 0.5}},
            **{"manifest": {}, "units": units | {"counts": [[1, right, 0] for right in rights]}},
        }
        (tmp_path / f"{which}.json").write_text(json.dumps(value))
    html = make(tmp_path, *results, tmp_path / "p1.json", tmp_path / "p2.json")
    assert "GQA" in html and "33.33 %" in html and "66.67 %" in html
    assert "two are compared" in refused_once(tmp_path, *results, tmp_path / "p1.json")


def refused_once(tmp_path: Path, *argv: object) -> str:
    """As `refused`, where an earlier page may lie."""
    (tmp_path / "report.html").unlink(missing_ok=True)
    return refused(tmp_path, *argv)
