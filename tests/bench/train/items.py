"""What the training benchmark trains on: synthetic captions with the published set's statistics, or a real file's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from common.models.text.ids import PromptIds
from finetune.corpus.records import NEG, POS, SENT, CaptionItem, Span

IMAGES = 64  # distinct files
END = 2


@dataclass(frozen=True)
class Shape:
    """Lengths in tokens.

    Attributes:
        before, after: of the prompt, around the image; caption: on average.
        row: of the published shape, padded; pack: of a pack, at most. 16896 = 132 x 128: matrix products of tiles of
            128 rows and 256 columns then come out even on the 132 processors of an H100.
    """

    before: int
    after: int
    caption: int
    row: int
    pack: int


SHAPES = {"7b": Shape(35, 10, 75, 672, 16896), "mini": Shape(8, 4, 24, 96, 1024)}


@dataclass(frozen=True)
class CaptionShape:
    """Tokens of a caption without its end symbol, and ranges of its used spans; the sentence comes on top."""

    tokens: int
    spans: tuple[tuple[int, int], ...]


def synthetic_captions(shape: Shape, count: int, draw: random.Random) -> list[CaptionShape]:
    """Captions of a batch, with 1.5 spans on average; their lengths differ, but always add up to the same."""
    lengths = []
    for _ in range(count // 2):
        off = draw.randint(-shape.caption // 5, shape.caption // 5)
        lengths += [shape.caption + off, shape.caption - off]
    lengths += [shape.caption] * (count % 2)
    first = draw.randint(0, 1)
    return [_caption(tokens, 1 + (place + first) % 2, draw) for place, tokens in enumerate(lengths)]


def _caption(tokens: int, spans: int, draw: random.Random) -> CaptionShape:
    cuts = sorted(draw.sample(range(1, tokens), 2 * spans))
    return CaptionShape(tokens, tuple(zip(cuts[::2], cuts[1::2], strict=True)))


def captions_of(pos_neg: Path, sentences: Path) -> list[CaptionShape]:
    """Captions of a published or mined set; 4 tokens for every 3 words. Raises DataError for a malformed file."""
    from common.thresholds import Thresholds
    from finetune.corpus.grouping import filter_samples, group
    from finetune.corpus.samples import read_samples

    samples = read_samples(pos_neg, sentences)
    found = []
    for caption in group(filter_samples(samples.spans, samples.sentences, Thresholds(23.0, 32.0, 27.5))):
        ends = [(_tokens(caption.caption[: s.start]), _tokens(caption.caption[: s.end])) for s in caption.spans]
        spans = tuple((start, end) for (start, end), s in zip(ends, caption.spans, strict=True) if s.kind != SENT)
        found.append(CaptionShape(_tokens(caption.caption), tuple(s for s in spans if s[0] < s[1])))
    return found


def _tokens(text: str) -> int:
    return max(1, len(text.split()) * 4 // 3)


def batches(
    shape: Shape, captions: Sequence[CaptionShape], images: int, per_image: int, vocabulary: int, seed: int = 0
) -> Iterator[list[CaptionItem]]:
    """Endless batches of so many images with so many captions each.

    Args:
        captions: that are used in turn; none: synthetic ones.
        vocabulary: token ids are drawn below it.
    """
    real = cycle(captions)
    draw = random.Random(seed)
    prompt = PromptIds(
        tuple(draw.randrange(3, vocabulary) for _ in range(shape.before)),
        tuple(draw.randrange(3, vocabulary) for _ in range(shape.after)),
    )
    names = cycle(f"{i}.jpg" for i in range(IMAGES))
    while True:
        count = images * per_image
        chosen = list(islice(real, count)) if captions else synthetic_captions(shape, count, draw)
        files = [name for name in islice(names, images) for _ in range(per_image)]
        yield [_item(name, prompt, caption, draw, vocabulary) for name, caption in zip(files, chosen, strict=True)]


def _item(image: str, prompt: PromptIds, caption: CaptionShape, draw: random.Random, vocabulary: int) -> CaptionItem:
    ids = (*(draw.randrange(3, vocabulary) for _ in range(caption.tokens)), END)
    kinds = cycle((NEG, POS))
    spans = [Span(next(kinds), start, end, 0.0, 1.0) for start, end in caption.spans]
    return CaptionItem(image, image, prompt, ids, (*spans, Span(SENT, 0, len(ids), 0.0, 1.0)))


def write_images(folder: Path) -> None:
    """JPEG files of 640 x 480: smooth colours with grain, about as large as photos of that size."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(IMAGES):
        coarse = Image.fromarray(draw.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((640, 480))
        grain = draw.integers(-12, 13, (480, 640, 3))
        photo = np.clip(np.asarray(coarse, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"{i}.jpg", quality=90)
