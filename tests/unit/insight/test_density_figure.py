"""The density figure is a PNG, with and without labels, also where a density is not defined."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from common.thresholds import Thresholds
from insight.scores.density_figure import density, draw
from insight.scores.detector_quality import LabelledScores


@pytest.mark.parametrize(
    "labelled",
    [
        LabelledScores((20.0, 25.0, 30.0), (10.0, 12.0, 21.0)),
        LabelledScores((), ()),
        LabelledScores((20.0,), (10.0, 10.0)),
    ],
)
def test_draws_a_png_and_leaves_no_temporary_file(tmp_path, labelled):
    path = tmp_path / "figures" / "density.png"
    draw(path, [10.0, 20.0, 30.0], labelled, Thresholds())
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 800
        assert np.unique(np.array(image)).size > 10  # something is drawn
    assert [p.name for p in path.parent.iterdir()] == ["density.png"]


def test_a_density_integrates_to_one_and_peaks_at_the_data():
    grid = np.linspace(-10, 10, 2001)
    curve = density([-1.0, 0.0, 1.0], grid)
    assert float(curve.sum() * (grid[1] - grid[0])) == pytest.approx(1.0, abs=1e-3)
    assert abs(float(grid[curve.argmax()])) < 0.1
    assert density([3.0, 3.0], grid).sum() == 0


def test_thresholds_far_from_the_scores_do_not_stretch_the_figure(tmp_path, recwarn):
    draw(tmp_path / "d.png", [-30.0, -29.0], LabelledScores((-29.0,), (-30.0,)), Thresholds())
    assert not [w for w in recwarn if "layout" in str(w.message)]
    with Image.open(tmp_path / "d.png") as image:
        assert image.width < 2000
