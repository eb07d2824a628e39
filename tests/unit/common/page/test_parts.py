"""What pages share: text that stays text, pictures within a budget, scales, and files that are ours."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import DataError
from common.files.images import ImageFolder
from common.page.charts import nice_step, scale_of
from common.page.pictures import BUDGET, lost_line, make_album
from common.page.render import Page, json_script, policy
from common.page.target import PageTarget
from common.page.visible_text import Mark, MarkedText, visible

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
HOSTILE = "</script><script>alert(1)</script><!-- \" ' ` {{ 7*7 }} \u202e\u2066 \U0001f469\u200d\U0001f680 \x00\x1b[31m"


@st.composite
def marked(draw: st.DrawFn) -> tuple[str, list[Mark]]:
    """A text and marks in it, which may overlap."""
    text = draw(TEXT.filter(bool))
    ends = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda e: e[0] != e[1])
    places = draw(st.lists(ends, max_size=6))
    return text, [Mark(min(e), max(e), f"kind{n}") for n, e in enumerate(places)]


@settings(max_examples=80, deadline=None)
@given(marked())
def test_runs_hold_the_text_and_each_mark_covers_exactly_its_own(case: tuple[str, list[Mark]]) -> None:
    text, marks = case
    found = MarkedText.of(text, marks)
    assert "".join(run.text for run in found.runs) == text
    for mark in marks:
        assert "".join(run.text for run in found.runs if mark in run.marks) == text[mark.start : mark.end]


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    found = MarkedText.of("dog " * 25_000, [Mark(0, 3, "hal"), Mark(3_998, 4_003, "grd"), Mark(99_000, 99_003, "hal")])
    assert sum(len(run.text) for run in found.runs) + found.left_out == 100_000
    assert [run.kinds for run in found.runs] == ["hal", "", "grd"]


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_visible_text_has_no_controls_and_turns_nothing(text: str) -> None:
    shown = visible(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    if text.isprintable():
        assert shown == text


class Reader(HTMLParser):
    """The elements of a page, and what its data hold."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.data += data


@settings(max_examples=100, deadline=None)
@given(st.recursive(TEXT | st.just(HOSTILE) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_json_in_a_page_is_one_element_and_comes_back(value: object) -> None:
    reader = Reader()
    reader.feed(str(json_script(value, "data")))
    assert reader.elements == ["script"]
    assert json.loads(reader.data) == value


def page(folder: Path) -> Page:
    """A page of one text and one picture's placeholder."""
    (folder / "p.html").write_text(
        '{% extends "base.html" %}{% from "gallery.html" import marked, picture %}'
        "{% block title %}{{ text.runs[0].text|visible }}{% endblock %}"
        "{% block main %}{{ marked(text) }}{{ picture(it, it.name) }}{% endblock %}"
    )
    return Page("p.html", "EFUF test", folder)


def test_text_is_never_markup(tmp_path: Path) -> None:
    """Hostile text, mark and file name leave the page with the same elements as harmless ones."""
    made, elements = page(tmp_path), []
    for text in (HOSTILE, "x" * len(HOSTILE)):
        album = make_album([text], None)
        html = made.render(text=MarkedText.of(text, [Mark(0, len(text), "hal", text)]), it=album[text])
        reader = Reader()
        reader.feed(html)
        elements.append(reader.elements)
        assert ("alert(1)</script>" not in html and "{{ 7*7 }}" in html) or text != HOSTILE
    assert elements[0] == elements[1]


def test_a_page_asks_for_nothing(tmp_path: Path) -> None:
    html = page(tmp_path).render(text=MarkedText.of("a dog"), it=make_album(["a.png"], None)["a.png"])
    assert "default-src &#39;none&#39;" in html
    assert not re.search(r"(?:src|href)=[\"'](?!#|data:)", html)
    assert not re.search(r"url\(|@import|https?://", html)


def test_an_empty_text_says_so(tmp_path: Path) -> None:
    made, it = page(tmp_path), make_album(["a.png"], None)["a.png"]
    for text in ("a dog", " \n "):
        html = made.render(text=MarkedText.of(text), it=it)
        assert ("(an empty caption)" in html) == (not text.strip())


def test_the_policy_names_each_script_by_its_hash() -> None:
    empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # SHA-256 of nothing, in base64
    assert f"script-src 'sha256-{empty}';" in policy([""])


def test_pictures_are_reduced_missing_ones_counted_and_the_budget_holds(tmp_path: Path) -> None:
    for number in range(3):
        Image.effect_noise((400, 300), 90).convert("RGB").save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = [f"{n}.png" for n in range(3)] + ["broken.png", "gone.png", "../escape.png"]
    album = make_album(names, ImageFolder(tmp_path), budget=15_000)
    assert album.bytes <= 15_000 and set(album.pictures) == {f"{n}.png" for n in range(3)}
    assert all(it.width / it.height == pytest.approx(4 / 3, rel=0.02) for it in album.pictures.values())
    assert set(album.lost) == {"broken.png", "gone.png", "../escape.png"}
    assert not album["gone.png"].uri
    assert lost_line(album.lost, 6).startswith("3 of 6 pictures are missing")
    assert BUDGET * 4 / 3 < 15e6


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1, max_size=5))
def test_scales_hold_their_values_and_tick_at_round_steps(values: list[float]) -> None:
    scale = scale_of(values)
    unseen = 1e-8 * (scale.high - scale.low)  # a hair beyond the last tick is drawn on it
    assert scale.low - unseen <= min(values) and max(values) <= scale.high + unseen
    assert 2 <= len(scale.ticks) <= 9
    assert 0 <= scale(values[0]) <= 100
    labels = [text for _, text in scale.labels()]
    assert len(set(labels)) == len(labels)


def test_steps_are_round() -> None:
    assert [nice_step(v) for v in (0.011, 0.2, 3, 26, 1000)] == [0.02, 0.2, 5, 50, 1000]


def test_a_page_goes_over_its_own_kind_only(tmp_path: Path) -> None:
    made = page(tmp_path)
    target = PageTarget(tmp_path / "out.html", "report_path", made)
    html = made.render(text=MarkedText.of("a dog"), it=make_album(["a.png"], None)["a.png"])
    target.write(html)
    target.write(html)
    (tmp_path / "out.html").write_text("<!doctype html><p>my own notes")
    with pytest.raises(DataError, match="is there already"):
        target.write(html)
    assert "my own notes" in (tmp_path / "out.html").read_text()
