"""The report in a real browser: quiet, quick, by keyboard, for everybody, at every width, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluate import report
from tests.browser import SETTLED, Opened, browser, opened
from tests.report_world import HOSTILE, ReportWorld, make_world

COUNT = 300
USABLE_SECONDS = 2.0
SHOWN = "[...document.querySelectorAll('#captions .card:not([hidden])')].map(card => card.id)"
# A link looks again for some frames, as cards on the way take their true height only when they come into view.
ARRIVED = "(async () => { for (let n = 0; n < 12; n += 1) await new Promise(requestAnimationFrame) })()"
FOCUSED = "document.activeElement.id"


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """One browser for all tests."""
    with browser() as found:
        yield found


def page_of(world: ReportWorld, *flags: str) -> Path:
    """The report of a world."""
    path = world.folder / "report.html"
    said = [str(world.captions("before")), str(world.captions("after")), *flags, "--report_path", str(path)]
    report.main([*said, "--image_dir_path", str(world.images)])
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, running: Any) -> Path:  # noqa: ARG001 (skips before the work)
    """300 captions before and after, with truth, scores and spans; the first is hostile."""
    world = make_world(tmp_path_factory.mktemp("browser") / "world", COUNT, {1: (HOSTILE, HOSTILE)})
    found = page_of(
        world,
        *("--gold_objects_path", str(world.gold), "--score_data_paths", str(world.scores)),
        *("--pos_neg_data_path", str(world.spans)),
    )
    assert found.stat().st_size < 15_000_000
    return found


@pytest.fixture
def open_page(page: Path, running: Any) -> Iterator[Opened]:
    """The report, opened; at the end it must have kept quiet and asked for nothing."""
    with opened(running, page) as found:
        yield found
        assert found.trouble == [] and found.asked == []


def shown(it: Opened) -> list[str]:
    """Ids of the cards that are shown, in order."""
    return list(it.evaluate(SHOWN))


def test_300_captions_are_usable_at_once(page: Path, running: Any) -> None:
    """Loaded, laid out and filtered, in seconds of the page's own thread: what else the machine does is not its."""
    context = running.new_context(viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    devtools = context.new_cdp_session(tab)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(page.as_uri())
    tab.keyboard.press("3")
    tab.evaluate(SETTLED)
    assert len(tab.evaluate(SHOWN)) < COUNT
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    context.close()
    assert 0 < metrics["TaskDuration"] < USABLE_SECONDS


def test_filters_search_objects_and_order_do_what_they_say(open_page: Opened) -> None:
    it, browser_page = open_page, open_page.page
    assert len(shown(it)) == COUNT
    browser_page.locator("#captions label", has_text="Better").click()
    better = shown(it)
    assert better == [f"c-{n}-0" for n in range(3, COUNT + 1, 3)]  # every third is mended
    assert browser_page.locator("#captions [data-count]").inner_text() == f"100 of {COUNT} shown"
    browser_page.fill("#captions [data-search]", "PHOTO_000003")
    assert shown(it) == ["c-3-0"]
    browser_page.fill("#captions [data-search]", "stands wall dog")
    assert set(shown(it)) < set(better)
    browser_page.fill("#captions [data-search]", "nothing like it")
    assert shown(it) == [] and browser_page.locator("#captions .empty").is_visible()
    browser_page.locator("#captions [data-reset]").click()
    assert len(shown(it)) == COUNT
    browser_page.select_option("#captions [data-object]", "pizza")
    named = it.evaluate("[...document.querySelectorAll('#captions .card:not([hidden])')].map(c => c.dataset.objects)")
    assert 0 < len(named) < COUNT and all("|pizza|" in one for one in named)
    browser_page.select_option("#captions [data-object]", "")
    browser_page.select_option("#captions [data-sort]", "change")
    changes = it.evaluate("[...document.querySelectorAll('#captions .card')].map(c => Number(c.dataset.change))")
    assert changes == sorted(changes, reverse=True)


def test_keys_walk_search_filter_and_explain(open_page: Opened) -> None:
    it, browser_page = open_page, open_page.page
    it.press("j")
    assert it.evaluate(FOCUSED) == "c-1-0"
    it.press("j", "j", "k")
    assert it.evaluate(FOCUSED) == "c-2-0"
    assert it.evaluate("Math.abs(document.activeElement.getBoundingClientRect().top) < 200")
    it.press("2", "j")
    assert it.evaluate(FOCUSED) in shown(it)
    it.press("/")
    assert it.evaluate("document.activeElement.matches('#captions [data-search]')")
    browser_page.keyboard.type("jkd?0")
    assert browser_page.input_value("#captions [data-search]") == "jkd?0" and shown(it) == []
    it.press("Escape", "0")
    assert len(shown(it)) == COUNT
    it.press("?")
    assert browser_page.locator("#help").is_visible()
    it.press("Escape")
    assert not browser_page.locator("#help").is_visible()
    dark = "getComputedStyle(document.body).backgroundColor"
    before = it.evaluate(dark)
    it.press("d")
    assert it.evaluate(dark) != before


def test_a_link_leads_to_its_caption_whatever_is_filtered(page: Path, running: Any) -> None:
    with opened(running, page, hash_="#c-250-0") as it:
        it.page.wait_for_function("Math.abs(document.getElementById('c-250-0').getBoundingClientRect().top) < 200")
        it.press("2")
        assert "c-250-0" not in shown(it)
        it.evaluate("location.hash = '#c-1-0'")
        it.page.wait_for_function("!document.getElementById('c-1-0').hidden")


def test_objects_sort_by_a_click(open_page: Opened) -> None:
    open_page.page.locator("nav a[href='#objects']").click()
    open_page.evaluate(ARRIVED)  # a click is lost where the page moves between the button's going down and up
    open_page.page.locator("#objects th button", has_text="mentioned before").click()
    open_page.page.locator("#objects th[aria-sort=descending]").wait_for()
    column = "[...document.querySelectorAll('#objects tbody tr')].map(row => Number(row.cells[1].textContent))"
    counts = open_page.evaluate(column)
    assert len(counts) >= 6 and counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1400, True)])
def test_axe_finds_nothing_serious_and_nothing_sticks_out(page: Path, running: Any, width: int, dark: bool) -> None:
    with opened(running, page, width, dark) as it:
        assert it.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # axe looks at every element: a page of few cards has all kinds of them
        it.evaluate("document.querySelectorAll('.card').forEach((card, n) => n % 50 ? card.remove() : 0)")
        it.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert it.serious() == []


def test_hostile_text_is_shown_as_it_is(open_page: Opened) -> None:
    text = open_page.evaluate("document.querySelector('#c-1-0 [data-text]').textContent")
    assert text == HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩").replace(
        "\u2066", "⟨U+2066⟩"
    ).replace("\u2069", "⟨U+2069⟩")
    assert open_page.evaluate("document.scripts.length") == 3 and open_page.trouble == []


def test_all_is_printed_and_nothing_that_is_only_for_screens(open_page: Opened) -> None:
    open_page.page.emulate_media(media="print")
    assert not open_page.page.locator("#captions [data-toolbar]").is_visible()
    assert open_page.page.locator("#c-1-0").is_visible()
