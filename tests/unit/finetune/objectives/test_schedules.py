"""Loss weight schedules."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArgumentError
from finetune.objectives.presets import PRESETS
from finetune.objectives.schedules import SHAPES, Schedule, constant


def test_t7_weights_change_over_the_whole_run_not_over_its_first_epoch() -> None:
    """The published scheduler reached its end value after one epoch; two epochs of 50 steps are one run of 100."""
    negative = PRESETS["release"].neg
    values = [negative.at(step, 100) for step in range(100)]
    assert values[:41] == [0.3] * 41
    assert 0 < values[50] < 0.3 and 0 < values[98] < values[50]
    assert values[99] == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_t8_every_shape_ends_exactly_and_without_a_jump(shape: str) -> None:
    """The published exponential went 63 % of the way and jumped from 0.368 to 0."""
    values = [Schedule(1.0, 0.0, 0.0, shape).at(step, 101) for step in range(101)]
    assert values[0] == 1.0 and values[-1] == 0.0
    assert max(a - b for a, b in itertools.pairwise(values)) < 0.02
    assert values[-2] < 0.011


def test_release_weights_at_known_steps() -> None:
    """Positive 1 -> 0.5 linear over all steps; negative linear from 40 % on."""
    weights = PRESETS["release"]
    assert weights.pos.at(50, 101) == pytest.approx(0.75)
    assert weights.neg.at(70, 101) == pytest.approx(0.3 * (100 - 70) / (100 - 40.4))


@given(
    st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), st.sampled_from(sorted(SHAPES)), st.integers(1, 500), st.data()
)
def test_values_stay_between_the_ends(
    start: float, end: float, begin: float, shape: str, steps: int, data: st.DataObject
) -> None:
    """Whatever the schedule, no step leaves the interval of its ends, and the last step is the end."""
    step = data.draw(st.integers(0, steps - 1))
    schedule = Schedule(start, end, begin, shape)
    assert min(start, end) - 1e-9 <= schedule.at(step, steps) <= max(start, end) + 1e-9
    assert schedule.at(steps - 1, steps) == (end if steps > 1 else start)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((1, 0, 0, "liner"), "did you mean linear"), ((1, 0, 1.5), "1.5"), ((-1, 0), "-1"), ((float("nan"), 0), "nan")],
)
def test_bad_values_are_named(arguments: tuple[float, ...], words: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ArgumentError, match=words):
        Schedule(*arguments)  # type: ignore[arg-type]


def test_constant() -> None:
    """The paper's weights."""
    assert {constant(0.2).at(step, 7) for step in range(7)} == {0.2}
