"""Window geometry and score averaging against a slow, plain computation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.relevance.windows import cut_windows, object_scores, patch_scores, window_grid


def plain_patch_scores(scores: torch.Tensor, rows: int, columns: int, span: int) -> list[list[float]]:
    """For one object, patch by patch: visit every window, keep those that cover the patch, take the mean."""
    by_window = scores.reshape(rows, columns)
    out = []
    for y in range(rows + span - 1):
        line = []
        for x in range(columns + span - 1):
            covering = [
                float(by_window[r, c])
                for r in range(rows)
                for c in range(columns)
                if r <= y < r + span and c <= x < c + span
            ]
            line.append(sum(covering) / len(covering))
        out.append(line)
    return out


def test_a_coco_photo_has_the_published_number_of_windows():
    grid = window_grid(480, 640)
    assert (len(grid.tops), len(grid.lefts), grid.windows) == (7, 11, 77)
    assert grid.patches == (10, 14)


def test_d11_an_image_smaller_than_a_window_is_one_window_and_not_dropped():
    for height, width in ((191, 640), (640, 191), (112, 112), (1, 1)):
        grid = window_grid(height, width)
        assert (grid.windows, grid.height, grid.width, grid.patches) == (1, height, width, (1, 1))


def test_d11_the_last_window_is_shifted_to_the_edge_and_rows_are_height():
    grid = window_grid(200, 300)
    assert grid.tops == (0, 8)  # 200 pixels: a fifth patch of 8 pixels, window shifted back to 200 - 192
    assert grid.lefts == (0, 48, 96, 108)


@given(st.integers(192, 900), st.integers(192, 900))
def test_windows_cover_every_pixel_and_never_leave_the_image(height, width):
    grid = window_grid(height, width)
    for starts, length in ((grid.tops, height), (grid.lefts, width)):
        covered = set()
        for start in starts:
            assert 0 <= start <= length - 192
            covered |= set(range(start, start + 192))
        assert covered == set(range(length))
        assert list(starts) == sorted(set(starts))


def test_cut_windows_equals_slicing_image_by_image():
    images = torch.arange(2 * 3 * 200 * 260, dtype=torch.int32).reshape(2, 3, 200, 260)
    grid = window_grid(200, 260)
    plain = [
        image[:, top : top + 192, left : left + 192] for image in images for top in grid.tops for left in grid.lefts
    ]
    assert torch.equal(cut_windows(images, grid), torch.stack(plain))


@given(st.integers(192, 500), st.integers(192, 500), st.integers(0, 99))
def test_patch_score_is_the_mean_of_the_windows_over_the_patch(height, width, seed):
    grid = window_grid(height, width)
    scores = torch.randn(grid.windows, 2, generator=torch.Generator().manual_seed(seed))
    found = patch_scores(scores, grid)
    for k in range(2):
        plain = torch.tensor(plain_patch_scores(scores[:, k], len(grid.tops), len(grid.lefts), 4))
        torch.testing.assert_close(found[:, :, k], plain, atol=1e-5, rtol=1e-5)


def test_object_score_is_the_mean_of_the_best_four_patches():
    grid = window_grid(240, 240)  # 5 x 5 patches, 2 x 2 windows
    scores = torch.tensor([[10.0], [2.0], [4.0], [8.0]])
    # Patch (0, 0) lies under window 0 alone: 10. Its row and column neighbours up to 3 share windows: (10 + 2) / 2 = 6
    # along the row, (10 + 4) / 2 = 7 along the column. (4, 4) lies under window 3 alone: 8. Three patches score 7.
    assert float(object_scores(scores, grid)) == pytest.approx((10 + 8 + 7 + 7) / 4)


def test_d10_one_window_and_one_object_keep_their_dimensions():
    for height, width in ((192, 192), (100, 90)):
        found = object_scores(torch.tensor([[25.5]]), window_grid(height, width))
        assert found.shape == (1,)
        assert found.item() == pytest.approx(25.5)
