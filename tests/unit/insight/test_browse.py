"""`insight/browse.py` in a real browser: its counts are those of format_data.py wherever the thresholds stand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import DataError
from common.files.records import CaptionObjects, ObjectMention
from common.samples.scored import read_scored
from common.samples.sets import TARGETS, build_samples
from common.thresholds import Thresholds
from finetune.format_data import main as format_data
from insight.browse import main
from insight.browse_page.mined import mine, verdicts
from tests.browser import Opened, browser, opened

WORDS = ("a dog", "two cats", "a red bench", "the old man", "a bowl of fruit", "no thing")
HOSTILE = (
    '<script>window.hacked = 1</script> "a dog" </script><img src=x onerror="window.hacked=1"> & \u202ea cat\u202c',
    "😀 a dog, <b>a cat</b>" + " and a very long tail" * 5000,
)


def caption(words: random.Random) -> tuple[str, list[ObjectMention]]:
    """Sub-sentences of one to three things with scores, some of them alike."""
    text, mentions = "", []
    for _ in range(words.randint(1, 4)):
        for number in range(words.randint(1, 3)):
            name = words.choice(WORDS)
            text += (" and " if number else " there is ") + name
            mentions.append(ObjectMention(name, len(text) - len(name), len(text), words.choice((18.5, 25.25, 33.125))))
        text += words.choice((",", "."))
    if words.random() < 0.2:  # one that reaches over a boundary
        mentions.append(ObjectMention(text[: len(text) - 1], 0, len(text) - 1, 40.0))
    return text, sorted(mentions, key=lambda mention: mention.start)


def records(seed: int, number: int = 60) -> list[CaptionObjects]:
    """Captions of a third as many images; some stand there twice, some name nothing."""
    words = random.Random(seed)
    found = []
    for place in range(number):
        text, mentions = ("Nothing at all.", []) if place % 11 == 5 else caption(words)
        if place % 7 == 3:
            text, mentions = found[-1].caption, list(found[-1].objects)
        found.append(CaptionObjects(f"{place // 3}.png", place // 3, text, tuple(mentions), place % 3))
    return found


def write_scores(path: Path, captions: list[CaptionObjects]) -> Path:
    """As `insight/clip.py` does."""
    path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in captions), encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.floats(10, 40), high=st.floats(10, 40), target=st.sampled_from(TARGETS))
def test_verdicts_are_the_counts_of_the_samples(seed: int, low: float, high: float, target: str) -> None:
    if low == high:
        return
    cut = Thresholds(min(low, high), max(low, high), (low + high) / 2)
    data = records(seed, 12)
    found = verdicts(mine(data, target), cut)
    counts = build_samples(data, cut, target).counts
    kinds = {"lowered": "negatives", "raised": "positives", "between": "uncertain", "conflict": "conflicts"}
    assert {kind: found.count(kind) for kind in kinds} == {kind: getattr(counts, name) for kind, name in kinds.items()}
    assert found.count("repeated") == counts.repeated_spans and len(found) == counts.spans


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scores, all pictures but one, and the page."""
    folder = tmp_path_factory.mktemp("browse")
    data = records(0)
    data += [
        CaptionObjects(
            f"{n}.png", 100 + n, text, (ObjectMention("dog", text.index("dog"), text.index("dog") + 3, 20.0),)
        )
        for n, text in enumerate(HOSTILE)
    ]
    data.append(CaptionObjects("<i>gone</i>\u202e.png", 99, "A dog.", (ObjectMention("dog", 2, 5, 20.0),)))
    write_scores(folder / "scores.jsonl", data)
    (folder / "images").mkdir()
    for number in range(20):
        Image.new("RGB", (64, 48), (10 * number, 90, 120)).save(folder / "images" / f"{number}.png")
    flags = {"score_data_path": "scores.jsonl", "image_dir_path": "images", "page_path": "page.html"}
    main([word for name, value in flags.items() for word in (f"--{name}", str(folder / value))])
    return folder


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """One browser for all tests."""
    with browser() as found:
        yield found


@pytest.fixture
def shown(made: Path, running: Any) -> Iterator[Opened]:
    """The page, open; nothing was complained of or asked for in the end."""
    with opened(running, made / "page.html") as found:
        yield found
        assert found.trouble == [] and found.asked == []
        assert found.evaluate("window.hacked") is None


def counts_of(shown: Opened) -> dict[str, int]:
    """As the table says them now."""
    script = "[...document.querySelectorAll('[data-count-of]')].map((cell) => [cell.dataset.countOf, cell.textContent])"
    return {name: int("".join(c for c in text if c.isdigit())) for name, text in shown.evaluate(script)}


def test_counts_follow_and_are_those_of_format_data(
    made: Path, shown: Opened, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the sliders and fields, at thresholds on, between and beside scores; the last by its own command."""
    data = read_scored(made / "scores.jsonl")
    steps = (
        ("hallucinated", 25.25),
        ("grounded", 33.0),
        ("sentence", 26.4375),
        ("grounded", 24),
        ("hallucinated", 30.5),
    )
    for name, value in steps:
        shown.page.fill(f'[data-number="{name}"]', str(value))
        cut = Thresholds(**shown.evaluate("({...Browse.cut})"))
        assert getattr(cut, name) == value
        expected = asdict(build_samples(data, cut).counts)
        shown.settle()
        assert counts_of(shown) == expected
    shown.press("Escape", "r")
    shown.page.fill('[data-number="hallucinated"]', "19.5")
    flags = shown.page.inner_text("[data-flags]").split()
    paths = {"score_data_path": made / "scores.jsonl", "pos_neg_data_path": made / "p.json"}
    paths["sentence_data_path"] = made / "s.json"
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr("sys.argv", ["format_data.py", *words, *flags, "--dry_run"])
    format_data()
    said = capsys.readouterr().out.split(";")[0]
    assert said == ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts_of(shown).items())


def test_a_slider_is_moved_by_keys_and_takes_others_along(shown: Opened) -> None:
    before = counts_of(shown)
    shown.press("t", "ArrowRight", "ArrowRight")
    moved = shown.evaluate("Browse.cut.hallucinated")
    assert 23 < moved < 25
    shown.press("End")
    cut = shown.evaluate("({...Browse.cut})")
    assert cut["hallucinated"] > 32 and cut["hallucinated"] <= cut["sentence"] <= cut["grounded"]
    Thresholds(**cut)
    after = counts_of(shown)
    assert after["negatives"] > before["negatives"] and after["captions"] == before["captions"]
    shown.page.click("[data-back]")
    assert counts_of(shown) == before


def test_cards_say_why_and_filters_follow(shown: Opened) -> None:
    shown.press("2")
    lowered = shown.page.locator(".card:visible")
    assert shown.page.inner_text(".pill:has([value=lowered]) b") == str(lowered.count())
    first = lowered.first.locator(".verdicts .lowered").first
    assert first.locator("b").text_content() == "lowered"
    assert "is below 23" in first.locator("small").text_content()
    shown.page.fill('[data-number="hallucinated"]', "1")
    shown.settle()
    assert lowered.count() == 0 and shown.page.locator(".empty").is_visible()
    assert "No negatives would be left" in shown.page.inner_text("[data-warning]")
    shown.page.click("[data-reset]")
    shown.page.fill("[data-search]", "gone")
    assert lowered.count() == 1 and "⟨U+202E⟩" in lowered.first.text_content()
    assert lowered.first.locator('[role="img"]').count() == 1


def test_it_fits_and_axe_finds_nothing_serious(made: Path, tmp_path: Path, running: Any) -> None:
    """At three widths, in light and dark. Of a page with few cards, as each costs axe time; with the dock in sight."""
    flags = ["--score_data_path", str(made / "scores.jsonl"), "--page_path", str(tmp_path / "few.html")]
    main([*flags, "--captions_shown", "4", "--image_dir_path", str(made / "images")])
    with opened(running, tmp_path / "few.html") as found:
        found.evaluate("document.getElementById('captions').scrollIntoView({behavior: 'instant'})")
        found.page.wait_for_selector(".dock:visible")
        for width, scheme in ((1280, "light"), (820, ""), (390, "dark")):
            found.page.set_viewport_size({"width": width, "height": 900})
            assert found.evaluate("document.documentElement.scrollWidth") <= width
            if scheme:
                found.page.emulate_media(color_scheme=scheme)
                assert found.serious() == []


def test_what_is_not_ours_is_kept_and_what_is_not_scored_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>mine</p>")
    flags = ["--score_data_path", str(made / "scores.jsonl"), "--page_path", str(tmp_path / "page.html")]
    with pytest.raises(DataError, match="is there already"):
        main(flags)
    unscored: Any = [CaptionObjects("1.png", 1, "A dog.", (ObjectMention("dog", 2, 5),))]
    with pytest.raises(DataError, match="has no score"):
        main(["--score_data_path", str(write_scores(tmp_path / "x.jsonl", unscored))])
    with pytest.raises(DataError, match="names an object"):
        main(["--score_data_path", str(write_scores(tmp_path / "y.jsonl", [CaptionObjects("1.png", 1, "x", ())]))])
    assert (tmp_path / "page.html").read_text() == "<p>mine</p>"
