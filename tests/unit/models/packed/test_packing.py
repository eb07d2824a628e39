"""How packs are laid out, counted on small examples by hand, and what sees what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.models.packed import pieces
from common.models.packed.attention import BLOCK, PLAIN, block_mask, dense_attention, dense_mask, hide
from common.models.packed.layout import NO_WORD, PackedImage, lay_out, static_size
from common.models.text.ids import PromptIds
from tests.unit.models.packed.packs import packed_images

PROMPT = PromptIds((1, 20), (30,))
ALIKE = [PackedImage(0, PROMPT, ((5, 6, 7, 2), (8, 2), (5, 6, 9, 4, 2), (5, 2), (5, 6, 7, 3)))]
TWO = [PackedImage(4, PROMPT, ((5, 6, 2), (8,))), PackedImage(2, PROMPT, ((9, 2),))]


def test_a_pack_written_out() -> None:
    layout = lay_out(TWO, image_tokens=2)
    #          before  image 1          after  5  6  image 2           after  9
    assert layout.ids.tolist() == [1, 20, NO_WORD, NO_WORD, 30, 5, 6, NO_WORD, NO_WORD, 30, 9]
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 3, 4, 5]
    assert layout.until.tolist() == [11, 11, 7, 7, 7, 7, 7, 11, 11, 11, 11]
    assert layout.image_at.tolist() == [2, 3, 7, 8] and layout.feature.tolist() == [4, 2]
    assert layout.queries.tolist() == [4, 5, 6, 9, 10]
    assert layout.asked.tolist() == [0, 1, 2, 0, 3, 4]
    assert layout.targets.tolist() == [5, 6, 2, 8, 9, 2]
    assert layout.pick.tolist() == [0, 1, 2, 3, 4, 5]
    assert layout.slot.tolist() == [0, 1, 2, 3, 6, 7] and (layout.rows, layout.longest) == (3, 3)
    assert layout.tokens == layout.length == 11


def test_what_captions_begin_with_stands_once() -> None:
    """A fork behind 5, one behind 6; the first three predictions are made once for all that ask for them."""
    layout = lay_out(ALIKE, image_tokens=2)
    #                              before  image             after  5  6  7  9  4  8
    assert layout.ids.tolist() == [1, 20, NO_WORD, NO_WORD, 30, 5, 6, 7, 9, 4, 8]
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 5]
    assert layout.until.tolist() == [11, 11, 11, 11, 11, 10, 10, 8, 10, 10, 11]
    assert layout.queries.tolist() == [4, 5, 6, 7, 8, 9, 10]
    asked = [(int(layout.queries[at]), int(target)) for at, target in zip(layout.asked, layout.targets, strict=True)]
    assert asked == [(4, 5), (5, 6), (6, 7), (7, 2), (4, 8), (10, 2), (6, 9), (8, 4), (9, 2), (5, 2), (7, 3)]
    table = layout.table(torch.arange(1.0, 12)).tolist()
    assert table == [[1, 2, 3, 4, 0], [5, 6, 0, 0, 0], [1, 2, 7, 8, 9], [1, 10, 0, 0, 0], [1, 2, 3, 11, 0]]


def test_text_before_the_image_is_shared_only_where_it_is_equal() -> None:
    other = PackedImage(0, PromptIds((1, 21), (30,)), ((5, 2),))
    images = [TWO[0], other, TWO[1]]
    layout = lay_out(images, 2)
    assert layout.tokens == 2 + 5 + 4 + 2 + 4
    assert layout.feature.tolist() == [4, 2, 0]  # images of one root stand together
    assert layout.slot.tolist() == [0, 1, 2, 3, 9, 10, 6, 7]  # rows keep the order that they were given in


@pytest.mark.parametrize(("images", "length"), [([], None), ([PackedImage(0, PROMPT, ((),))], None), (TWO, 10)])
def test_impossible_packs_are_refused(images: list[PackedImage], length: int | None) -> None:
    with pytest.raises(ValueError, match="pack"):
        lay_out(images, 2, length)


def sees(images: list[PackedImage], m: int) -> list[list[bool]]:
    """Who sees whom, from what is on the way to each token: root, image, what its captions have begun with."""
    ways: list[tuple[object, ...]] = []
    roots = list(dict.fromkeys(image.prompt.before for image in images))
    for root in roots:
        ways += [(root,)] * len(root)
        for i, image in enumerate(images):
            if image.prompt.before == root:
                ways += [(root, i)] * (m + len(image.prompt.after))
                ways += [(root, i, *begun) for begun in beginnings(image.branches)]
    return [[j <= i and ways[i][: len(ways[j])] == ways[j] for j in range(len(ways))] for i in range(len(ways))]


def beginnings(branches: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """What is fed, depth first, a fork's ways in order of appearance; each as the tokens up to it."""
    found: list[tuple[int, ...]] = []
    for first in dict.fromkeys(branch[0] for branch in branches if len(branch) > 1):
        behind = [branch[1:] for branch in branches if len(branch) > 1 and branch[0] == first]
        found += [(first,), *((first, *rest) for rest in beginnings(behind))]
    return found


@given(packed_images, st.integers(1, 3), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_token_sees_its_own_root_image_and_caption(images: list[PackedImage], m: int, padding: int) -> None:
    layout = lay_out(images, m, lay_out(images, m).tokens + padding)
    mask = dense_mask(layout.until, torch.arange(layout.length))[0, 0]
    t = layout.tokens
    assert mask[:t, :t].tolist() == sees(images, m)
    assert torch.equal(mask[t:, t:], torch.eye(padding, dtype=torch.bool)) and not mask[:t, t:].any()
    assert not mask[t:, :t].any()


@given(
    packed_images,
    st.integers(1, 150),
    st.booleans(),
    st.frozensets(st.sampled_from([3, 7, 50]), max_size=2),
    st.sampled_from([PLAIN, (64, 64), (128, 64), (64, 32)]),
)
@settings(max_examples=20, deadline=None)
def test_the_block_mask_is_the_dense_one(
    images: list[PackedImage], m: int, padded: bool, hidden: frozenset[int], sizes: tuple[int, int]
) -> None:
    """Blocks left out hold nothing that is seen; blocks taken whole nothing that is not."""
    layout = lay_out(images, m, -(-lay_out(images, m).tokens // BLOCK) * BLOCK if padded else None)
    until = hide(layout.until, layout.ids, hidden)
    for queries in (torch.arange(layout.length), layout.queries):
        dense, blocks = dense_mask(until, queries)[0, 0], block_mask(until, queries, sizes)
        taken = blocks.to_dense()[0, 0].bool()
        full = torch.zeros_like(taken)
        for row, count in enumerate(blocks.full_kv_num_blocks[0, 0].tolist()):
            full[row, blocks.full_kv_indices[0, 0, row, :count].long()] = True
        wide = [
            x.repeat_interleave(sizes[0], 0).repeat_interleave(sizes[1], 1)[: len(queries), : len(until)]
            for x in (taken, full)
        ]
        assert not (dense & ~wide[0]).any() and not (wide[1] & ~dense).any()
        at, key = torch.meshgrid(torch.arange(len(queries)), torch.arange(len(until)), indexing="ij")
        assert torch.equal(blocks.mask_mod(at, at, at, key), dense)


@given(packed_images, st.integers(1, 3), st.integers(0, 3), st.sampled_from([0, 10, 60]))
@settings(max_examples=25, deadline=None)
def test_attention_by_pieces_is_that_of_the_dense_mask(
    images: list[PackedImage], m: int, padding: int, cost: int
) -> None:
    """Values and gradients, also of few queries, with heads that share keys, and pieces small and large."""
    layout = lay_out(images, m, lay_out(images, m).tokens + padding)
    for queries in (torch.arange(layout.length), layout.queries[: len(layout.queries.unique())]):
        with patch.object(pieces, "PIECE", cost):
            parted = pieces.pieces_of(layout.until, queries)
        inputs = [torch.randn(1, n, h, 4, dtype=torch.float64, requires_grad=True) for n, h in
                  ((len(queries), 4), (layout.length, 2), (layout.length, 2))]  # fmt: skip
        asked = torch.randn(1, len(queries), 4, 4, dtype=torch.float64)
        found = [
            [out, *torch.autograd.grad(out, inputs, asked)]
            for out in (
                dense_attention(*inputs, 0.5, dense_mask(layout.until, queries)),
                pieces.piecewise_attention(*inputs, 0.5, parted),
            )
        ]
        for dense, other in zip(*found, strict=True):
            torch.testing.assert_close(other, dense)


def test_a_piece_is_as_large_as_pays() -> None:
    """41 tokens up to the captions, these of 20 and 5: one piece, or one for each part where a piece costs nothing."""
    layout = lay_out([PackedImage(0, PROMPT, (tuple(range(3, 24)), tuple(range(30, 36))))], 38)
    every = torch.arange(layout.length)
    for cost, sizes in ((0, [41, 20, 5]), (10_000, [66])):
        with patch.object(pieces, "PIECE", cost):
            found = pieces.pieces_of(layout.until, every)
        assert [piece.queries for piece in found.pieces] == sizes
        assert [piece.mask.shape[1] for piece in found.pieces] == ([41, 61, 46] if cost == 0 else [66])


def test_few_sizes_of_queries() -> None:
    sizes = [static_size(count) for count in range(1, 9000)]
    assert all(count <= size < count + max(128, count / 4) for count, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 24 and all(size % BLOCK == 0 for size in sizes)
    assert all(small <= large for small, large in pairwise(sizes))


def test_a_static_length_repeats_the_last_query() -> None:
    layout = lay_out(TWO, 2, 128)
    assert layout.length == 128 and layout.queries.tolist() == [4, 5, 6, 9, *[10] * 124]
    assert layout.tokens == 11 and (layout.ids[11:] == NO_WORD).all()
