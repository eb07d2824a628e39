"""The probe's figures, its choice, its price and its chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.files.records import CaptionObjects, ObjectMention
from common.thresholds import Thresholds
from finetune.probe.choice import Bounds, Turn, Verdict, place, verdict
from finetune.probe.cost import MOST, ProbeCost
from finetune.probe.figure import draw
from finetune.probe.history import read_probes, write_probes
from finetune.probe.measure import Measure, measure
from finetune.probe.prober import chosen_images
from finetune.run.recall import require_logged

CUT = Thresholds(10.0, 20.0, 15.0)
BOUNDS = Bounds(object_loss=0.1, word_loss=0.25, repetition=0.1, positive_rise=0.02)


def caption(text: str, *named: tuple[str, float]) -> CaptionObjects:
    return CaptionObjects("a.png", 1, text, tuple(ObjectMention(name, 0, 1, score) for name, score in named))


def probe(step: int, **more: Any) -> Measure:
    """One whose figures are those of any start, but for `more`."""
    values: dict[str, Any] = {"captions": 10, "low": 1, "share": 0.2, "mentions": 5.0, "objects": 4.0}
    return Measure(step=step, **values | {"grounded": 2.0, "words": 40.0, "repetition": 0.1} | more)


def test_figures_by_hand() -> None:
    """Five mentions in two captions; 10 itself is not below the threshold, 20 itself not above the other."""
    found = measure(
        7,
        [
            caption("A dog, a Dog and a cat.", ("dog", 30.0), ("Dog", 30.0), ("cat", 9.99)),
            caption("A  bus on a mat", ("bus", 10.0), ("mat", 20.0)),
        ],
        CUT,
    )
    assert found == Measure(7, 2, 1, 1 / 5, 2.5, 2.0, 0.5, 6.0, 0.5)
    assert found.logged()["probe_share"] == 1 / 5


def test_captions_without_objects_have_no_share() -> None:
    found = measure(0, [caption("Nothing.")], CUT)
    assert found.share is None and found.objects == 0 and "probe_share" not in found.logged()
    with pytest.raises(DataError, match="--valid_data_split"):
        measure(0, [], CUT)


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"grounded": 1.79}, "--probe_max_object_loss 0.1"),
        ({"words": 29.9}, "--probe_max_word_loss 0.25"),
        ({"repetition": 0.21}, "--probe_max_repetition 0.1"),
        ({"positive_loss": 0.511}, "--probe_max_positive_rise 0.02 (loss 0.511, 0.500 at the start)"),
    ],
)
def test_what_breaks_a_bound_is_not_the_best_and_is_named(more: dict[str, float], flag: str) -> None:
    start = probe(0, positive_loss=0.5)
    found = verdict([start, probe(5, share=0.1, positive_loss=0.51), probe(10, share=0.01, **more)], BOUNDS, 1)
    assert found.best.step == 5 and found.stop is not None and flag in found.stop


def test_without_grounded_objects_all_objects_count() -> None:
    start, later = probe(0, grounded=0.0), probe(5, grounded=0.0, objects=3.0, share=0.1)
    assert BOUNDS.broken(later, start) is not None and BOUNDS.broken(start, start) is None


def test_nothing_is_lower_than_none() -> None:
    assert "none can be fewer" in (verdict([probe(0), probe(5, share=0.0)], BOUNDS, 9).stop or "")


PROBES = st.lists(
    st.tuples(
        st.sampled_from([None, 0.0, 0.05, 0.1, 0.2, 0.3]),
        st.sampled_from([0.0, 1.7, 1.9, 2.0]),
        st.sampled_from([10.0, 31.0, 44.0]),
        st.sampled_from([0.0, 0.15, 0.5]),
    ),
    max_size=8,
)


@given(PROBES, st.integers(1, 4))
def test_the_best_is_the_last_that_chance_does_not_tell_from_the_lowest(
    rest: list[tuple[float | None, float, float, float]], patience: int
) -> None:
    """Of those that keep the bounds; 50 mentions each. The run ends when none was lower for so long, or none can be."""
    probes = [probe(0)]
    probes += [probe(n, share=s, grounded=g, words=w, repetition=r) for n, (s, g, w, r) in enumerate(rest, start=1)]
    fit = [p for p in probes if p.share is not None and BOUNDS.broken(p, probes[0]) is None]
    found = verdict(probes, BOUNDS, patience)
    lowest = min(fit, key=lambda p: (p.share, p.step))
    deviation = (lowest.share * (1 - lowest.share) / 50) ** 0.5 if lowest.share else 0.0
    as_low = [p for p in fit if p.step >= lowest.step and p.share <= lowest.share + deviation]
    assert found.best == (lowest if lowest is probes[0] else as_low[-1])
    since = len(probes) - 1 - probes.index(lowest)
    assert (found.stop is not None) == (lowest.share == 0 or since >= patience)


def test_a_broken_bound_sends_back_so_often_and_the_count_begins_anew() -> None:
    """Worse probes that keep the bounds only count; nothing goes back to a probe that cannot be bettered."""
    far: dict[str, Any] = {"share": 0.01, "words": 10.0}
    probes = [probe(0), probe(2, **far), probe(4, share=0.1), probe(6), probe(8, **far), probe(10), probe(12, **far)]
    assert verdict(probes, BOUNDS, 3, 2) == Verdict(probes[2], None, (Turn(2, back=0), Turn(8, back=4)))
    assert verdict(probes[:4], BOUNDS, 1, 1).stop == "1 probes after step 4 have no lower share"
    assert "--probe_max_word_loss" in (verdict(probes, BOUNDS, 2, 1).stop or "")
    assert verdict([probe(0), probe(2, share=0.0), probe(4, **far)], BOUNDS, 9, 2).turns == ()


def test_schedules_go_back_with_the_weights() -> None:
    """And end where they would have ended: what was left of them is spread over the steps that are left."""
    turns = (Turn(10, back=5), Turn(20), Turn(30, back=5), Turn(40, back=0))
    places = {0: 0, 5: 5, 9: 9, 10: 5, 29: 5 + 19 * 35 / 30, 30: 5, 35: 22.5, 40: 0}
    for step, where in places.items():
        until = tuple(turn for turn in turns if turn.step <= step)
        assert place(until, step, 40) == pytest.approx(where)
    assert place(turns[:3], 40, 40) == 40


def test_what_was_too_much_shows_in_what_is_trained_on() -> None:
    """Positive spans that are lost there, too, or gain less than is lost elsewhere: the negatives; else the rate."""
    start = probe(0, positive_loss=0.5, trained_loss=0.5)
    lost = {"share": 0.1, "positive_loss": 0.53}
    for trained, negatives in ((0.51, True), (0.49, True), (0.45, False)):
        assert verdict([start, probe(4, trained_loss=trained, **lost)], BOUNDS, 3, 4).turns == (
            Turn(4, back=0, negatives=negatives),
        )
    twice = [start, *(probe(step, trained_loss=0.51, **lost) for step in (4, 8))]
    assert [turn.negatives for turn in verdict(twice, BOUNDS, 3, 4).turns] == [True, False]  # blamed once
    assert not verdict([start, probe(4, trained_loss=0.51, positive_loss=0.505)], BOUNDS, 3, 4).turns


def test_half_of_the_rate_is_tried_once_before_the_end() -> None:
    """Where so many probes brought no lower share, and a run may go on more carefully at all."""
    probes = [probe(0), probe(2, share=0.1), *(probe(step) for step in (4, 6, 8, 10))]
    assert verdict(probes[:4], BOUNDS, 2, 4) == Verdict(probes[1], None, (Turn(6),))
    assert verdict(probes, BOUNDS, 2, 4).stop == "2 probes after step 6 have no lower share"
    assert verdict(probes[:4], BOUNDS, 2).stop == "2 probes after step 2 have no lower share"


@given(st.integers(1, 500), st.floats(1e3, 1e9), st.sampled_from(["cpu", "cuda"]), st.integers(1, 8))
def test_probes_where_nothing_is_asked_for(steps: int, tokens: float, device: str, processes: int) -> None:
    """At most twelve parts; more than five only where that costs at most a twentieth."""
    cost = ProbeCost(device, 40, 4, tokens, processes)
    between = cost.steps_between(steps)
    probes = 1 + -(-steps // between)
    assert 1 <= between <= steps and probes <= MOST + 1
    if probes > 6:
        assert cost.share(probes) <= 0.05
    assert "raise --probe_steps" in cost.line(steps, between) or cost.share(probes) <= 0.05


def test_a_7b_model_on_the_published_set_is_probed_for_less_than_a_twentieth() -> None:
    """An epoch of the 30,000 spans: 630 s at 20,000 tokens a second on one H100."""
    cost, steps = ProbeCost("cuda", 40, 4, 630 * 20_000), 1000
    assert cost.share(1 + -(-steps // cost.steps_between(steps))) < 0.05


def test_images_are_of_the_validation_split_and_of_the_seed() -> None:
    valid = [f"{n}.png" for n in range(30)]
    assert chosen_images(valid, 40, 0) == sorted(valid)
    few = chosen_images(valid, 7, 0)
    assert len(set(few)) == 7 and {*few} <= {*valid} and few == chosen_images(valid[::-1], 7, 0)
    assert few != chosen_images(valid, 7, 1)
    with pytest.raises(DataError, match="--valid_data_split"):
        chosen_images([], 7, 0)


def test_probes_on_disk_come_back(tmp_path: Path) -> None:
    probes = {5: probe(5, share=None, mentions=0.0), 0: probe(0)}
    write_probes(tmp_path / "probe.jsonl", probes.values())
    assert read_probes(tmp_path / "probe.jsonl") == probes and read_probes(tmp_path / "none.jsonl") == {}
    (tmp_path / "probe.jsonl").write_text('{"step": 0}\n')
    with pytest.raises(DataError, match=r"probe\.jsonl:1.*--restart"):
        read_probes(tmp_path / "probe.jsonl")


@pytest.mark.parametrize(
    ("probes", "named"),
    [([probe(0), probe(0)], "2: a second probe of step 0"), ([probe(0), probe(2, share=-0.1)], r"2: share is -0\.1,"),
     ([probe(0, repetition=1.1)], r"1: repetition is 1\.1,"), ([probe(0, words=-1.0)], r"1: words is -1\.0,"),
     ([probe(0, mentions=0.0)], "1: share is 0.* of 0 mentions"), ([probe(0, share=None)], "1: share is None of")],
)  # fmt: skip
def test_probes_that_no_model_can_have_are_refused(tmp_path: Path, probes: list[Measure], named: str) -> None:
    write_probes(tmp_path / "probe.jsonl", probes)
    with pytest.raises(DataError, match=rf"probe\.jsonl:{named}.*--restart"):
        read_probes(tmp_path / "probe.jsonl")


def test_probes_must_be_those_of_the_log(tmp_path: Path) -> None:
    """One beyond the checkpoint was made before the kill, and its log is lost."""
    probes = {step: probe(step, share=1 / (step + 3)) for step in (0, 5, 10)}
    log = [{"loss": 1.0, "step": 5}, *({"step": s, "epoch": 0.1, **p.logged()} for s, p in probes.items() if s < 10)]
    path = tmp_path / "probe.jsonl"
    require_logged(probes, log, 5, path)
    for others, named in (
        ({0: probes[0], 10: probes[10]}, "step 5 .*missing"), ({}, "step 0 .*missing"),
        (probes | {5: probe(5, share=0.3)}, r"step 5 .*share 0\.3, not 0\.125"),
        (probes | {4: probe(4)}, "step 4 .*none there"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"probe\.jsonl: the probe of {named}.*--restart"):
            require_logged(others, log, 5, path)


def test_the_chart_is_the_same_for_the_same_probes(tmp_path: Path) -> None:
    """And has every probe's step, the kept one and the bounds; a share that is not there leaves a gap."""
    probes = [probe(0), probe(5, share=None), probe(10, share=0.05)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(tmp_path / name, probes, 10, BOUNDS)
    for suffix in ("svg", "png"):
        assert (tmp_path / "one" / f"probe.{suffix}").read_bytes() == (
            tmp_path / "two" / f"probe.{suffix}"
        ).read_bytes()
    text = (tmp_path / "one" / "probe.svg").read_text()
    assert "mentions below the threshold" in text and "naming something twice" in text
