"""A small evaluation to report on: pictures, captions before and after, what is in the pictures, scores, spans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

HOSTILE = (
    "</script><script>alert('dog')</script> \"a dog\" ' <img src=x onerror=alert(1)> &lt;b&gt; {{ 7*7 }} {% raw %} "
    "\u202egnp.god\u202c \u2066כלב\u2069 👩\u200d🚀 a hot dog and a cat"
)
LONG = "a dog " * 16_667  # 100,002 characters
THINGS = ("dog", "cat", "chair", "car", "bus", "pizza")


@dataclass(frozen=True)
class ReportWorld:
    """Files below one folder."""

    folder: Path

    @property
    def images(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "images"

    @property
    def gold(self) -> Path:
        """What is in them."""
        return self.folder / "gold.json"

    def captions(self, which: str) -> Path:
        """Captions before or after."""
        return self.folder / f"{which}.jsonl"

    @property
    def scores(self) -> Path:
        """Scored objects of the captions before."""
        return self.folder / "scores.jsonl"

    @property
    def spans(self) -> Path:
        """Spans of the captions before."""
        return self.folder / "pos_neg.json"


def name_of(number: int) -> str:
    """A picture's file name."""
    return f"photo_{number:06d}.png"


def make_world(folder: Path, count: int, said: Mapping[int, tuple[str, str]] | None = None) -> ReportWorld:
    """Pictures 1 to `count`. Each shows one thing and its caption invents another; every third is mended after.

    Args:
        said: captions, before and after, in place of the usual ones.
    """
    world = ReportWorld(folder)
    world.images.mkdir(parents=True)
    before, after, gold = {}, {}, {}
    for number in range(1, count + 1):
        there, invented = THINGS[number % 6], THINGS[(number + 1 + number % 2) % 6]
        usual = (
            f"A {there} stands in front of a wall, and a {invented} is beside it.",
            f"A {there} stands in front of a wall"
            + ("." if number % 3 == 0 else f", and a {invented} too, a {there}."),
        )
        before[number], after[number] = (said or {}).get(number, usual)
        gold[str(number)] = [there]
        Image.new("RGB", (64, 48), (40 * (number % 6), 90, 160)).save(world.images / name_of(number))
    world.gold.write_text(json.dumps(gold))
    for which, texts in (("before", before), ("after", after)):
        write_lines(world.captions(which), [_record(number, text) for number, text in texts.items()])
    write_lines(world.scores, [_record(n, t) | {"objects": _objects(t)} for n, t in before.items()])
    world.spans.write_text(json.dumps([_span(n, t) for n, t in before.items() if ", and" in t]))
    return world


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """JSON Lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _record(number: int, text: str) -> dict[str, Any]:
    return {"image": name_of(number), "image_id": number, "caption": text}


def _objects(text: str) -> list[dict[str, Any]]:
    found = [(text.find(f"{article} {t}"), t) for t in THINGS for article in ("a", "A")]
    return [
        {"text": t, "start": at + 2, "end": at + 2 + len(t), "score": 35.0 if at == 0 else 18.0}
        for at, t in sorted(found)
        if at >= 0
    ]


def _span(number: int, text: str) -> dict[str, Any]:
    return {
        "image": name_of(number),
        "sentence": text.rstrip("."),
        "position": text.index(", and") + 1,
        "score": 18.0,
    }
