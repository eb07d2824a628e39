"""Patches as a product: the convolution's numbers; and only where it may stand for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.relevance.patches import PatchProduct, is_patches, with_patch_product


@pytest.mark.parametrize(("size", "bias", "shape"), [(4, False, (2, 3, 12, 8)), ((2, 5), True, (1, 4, 7, 16))])
def test_the_product_is_the_convolution(size, bias, shape):
    torch.manual_seed(0)
    convolution = nn.Conv2d(shape[1], 6, size, stride=size, bias=bias)
    images = torch.randn(shape)
    found, expected = PatchProduct(convolution)(images), convolution(images)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv2d(3, 6, 4, stride=4), True),
        (nn.Conv2d(3, 6, 4, stride=2), False),
        (nn.Conv2d(3, 6, 4, stride=4, padding=1), False),
        (nn.Conv2d(4, 6, 4, stride=4, groups=2), False),
        (nn.Linear(3, 6), False),
        (None, False),
    ],
)
def test_only_a_convolution_without_overlap_is_one(module, expected):
    assert is_patches(module) is expected


@pytest.mark.parametrize(
    ("device", "dtype", "replaced"),
    [("cpu", torch.float32, False), ("cpu", torch.bfloat16, False), ("cuda", torch.float32, False)],
)
def test_scores_keep_their_bits_but_in_16_bits_on_a_gpu(device, dtype, replaced):
    model = nn.Module()
    model.visual = nn.Module()
    model.visual.conv1 = nn.Conv2d(3, 6, 4, stride=4)
    assert isinstance(with_patch_product(model, device, dtype).visual.conv1, PatchProduct) is replaced
    assert isinstance(with_patch_product(model, "cuda:1", torch.bfloat16).visual.conv1, PatchProduct)
