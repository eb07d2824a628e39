"""CHAIR against what the original, unmodified code says about thousands of real captions, caption by caption."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.files.coco import read_annotations
from common.files.gold import Gold, truth_from_file, truth_of
from evaluate.chair.counting import CaptionScore, ChairParser, score_caption
from tests.data_folder import real_data

NAMES = (
    *(f"opera.{model}.{decoding}" for model in ("llava-1.5", "minigpt4") for decoding in ("greedy", "beam5", "ours")),
    *(f"less_is_more.{name}" for name in ("r1-llava1.5-7b", "r2-vcd", "r5-ours-inst", "r9-llava-7b", "r11-minigptv2")),
    *(f"pope.{name}" for name in ("Instruction1_llava", "Instruction2_llava", "Instruction2_minigpt-4")),
)
PARSER = ChairParser("standard")


def lines(path: Path) -> list[dict[str, Any]]:
    """JSON Lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def chair() -> Path:
    """The folder of captions and results."""
    return real_data() / "chair"


@pytest.fixture(scope="module")
def gold(chair: Path) -> Gold:
    """Objects of all captioned images."""
    return truth_from_file(chair / "gt_objects.json", PARSER).objects


def rates(scores: Iterable[CaptionScore]) -> tuple[float, float]:
    """CHAIR_S and CHAIR_I in percent."""
    kept = list(scores)
    hallucinated = sum(len(s.hallucinated) for s in kept)
    with_one = sum(bool(s.hallucinated) for s in kept)
    return 100 * with_one / len(kept), 100 * hallucinated / sum(len(s.mentions) for s in kept)


def word_lists(score: CaptionScore) -> tuple[list[str], list[list[str]]]:
    """Objects named, and hallucinated (word, object) pairs, as the reference writes them."""
    return [m.node for m in score.mentions], [[m.word, m.node] for m in score.hallucinated]


@dataclass(frozen=True)
class Scored:
    """A file of captions, scored here and there, and the processor's seconds that it took here."""

    here: list[CaptionScore]
    reference: list[dict[str, Any]]
    seconds: float

    @property
    def same(self) -> int:
        """Captions of which both say the same word for word."""
        pairs = zip(self.here, self.reference, strict=True)
        return sum(word_lists(s) == (r["generated"], r["hallucinated"]) for s, r in pairs)


@pytest.fixture(scope="module")
def scored(chair: Path, gold: Gold) -> Callable[[str], Scored]:
    """Each file once."""

    @functools.cache
    def score(name: str) -> Scored:
        source, _, file = name.partition(".")
        captions = lines(chair / f"captions/{source}/{file}.jsonl")
        reference = lines(chair / f"reference_results/{name}.jsonl")
        start = time.process_time()
        here = [
            score_caption(PARSER, c.get("caption") or c["text"], gold[r["image_id"]])
            for c, r in zip(captions, reference, strict=True)
        ]
        return Scored(here, reference, time.process_time() - start)

    return score


@pytest.mark.parametrize("name", NAMES)
def test_standard_equals_the_original(chair: Path, scored: Callable[[str], Scored], name: str) -> None:
    """Nearly all captions identical; the rest turn on a verb-or-noun decision of the original's tagger."""
    found = scored(name)
    assert found.same >= 0.995 * len(found.reference)
    expected = json.loads((chair / "expected_overall.json").read_text())["measured"][name]
    chair_s, chair_i = rates(found.here)
    assert chair_s == pytest.approx(100 * expected["CHAIRs"], abs=0.15)
    assert chair_i == pytest.approx(100 * expected["CHAIRi"], abs=0.15)


def test_standard_is_identical_for_nearly_all_captions_together(scored: Callable[[str], Scored]) -> None:
    """At least 99.5 % over all 14 files."""
    every = [scored(name) for name in NAMES]
    assert sum(len(found.here) for found in every) == 11_500
    assert sum(found.same for found in every) >= 0.995 * 11_500


@pytest.mark.parametrize("name", ["deco_repo.re_log_regular_chair.json", "deco_repo.re_log_deco_chair.json"])
def test_standard_equals_stored_results(chair: Path, gold: Gold, name: str) -> None:
    stored = json.loads((chair / "stored_results" / name).read_text())
    scores = [score_caption(PARSER, s["caption"], gold[s["image_id"]]) for s in stored["sentences"]]
    overall = stored["overall_metrics"]
    chair_s, chair_i = rates(scores)
    assert chair_s == pytest.approx(100 * overall["CHAIRs"], abs=0.15)
    assert chair_i == pytest.approx(100 * overall["CHAIRi"], abs=0.15)
    recalled, present = sum(len(s.recalled) for s in scores), sum(len(s.gold) for s in scores)
    assert recalled / present == pytest.approx(overall["Recall"], abs=0.002)
    assert sum(s.tokens for s in scores) / len(scores) / 100 == pytest.approx(overall["Len"], abs=0.0005)


@pytest.fixture(scope="module")
def photos() -> tuple[Any, list[int]]:
    """Annotations of the real photos, and the ids that have both captions and instances."""
    found = read_annotations(real_data() / "coco/annotations")
    return found, [i for i in found.image_ids() if i in found.captions and i in found.instances]


def test_ground_truth_equals_the_original(photos: tuple[Any, list[int]]) -> None:
    annotations, both = photos
    expected = truth_from_file(real_data() / "coco/gt_objects.json", PARSER).objects
    assert len(both) == 191
    assert truth_of(annotations, PARSER, "here", both).objects == {i: expected[i] for i in both}


def test_e4_paper_mode_equals_efufs_class(chair: Path, photos: tuple[Any, list[int]]) -> None:
    """Gold objects and caption words of every photo, and the totals over real captions."""
    annotations, both = photos
    parser = ChairParser("paper")
    gold = truth_of(annotations, parser, "here", both).objects
    assert gold == truth_from_file(chair / "efuf_variant/gold_objects.json", parser).objects
    texts = {
        entry["id"]: entry["caption"]
        for path in (real_data() / "coco/annotations").glob("captions_*.json")
        for entry in json.loads(path.read_text())["annotations"]
    }
    for row in lines(chair / "efuf_variant/caption_objects.jsonl"):
        mentions = parser.objects(texts[row["annotation_id"]])
        assert [m.word for m in mentions] == row["words"]
        assert [m.node for m in mentions] == row["categories"]
    results = json.loads((chair / "efuf_variant/results.json").read_text())
    scores = [score_caption(parser, c["caption"], gold[c["image_id"]]) for c in results["captions"]]
    for score, row in zip(scores, results["captions"], strict=True):
        assert (len(score.mentions), len(score.hallucinated)) == (row["total_obj"], row["hal_obj"])
    assert len(scores) == 39
    assert sum(len(s.mentions) for s in scores) == 149
    assert sum(len(s.hallucinated) for s in scores) == 30
    assert sum(bool(s.hallucinated) for s in scores) == 19
    assert sum(s.words for s in scores) == 2898


def test_two_thousand_captions_in_under_thirty_seconds(scored: Callable[[str], Scored]) -> None:
    found = scored("pope.Instruction1_llava")
    assert len(found.here) == 2000
    assert found.seconds < 25
