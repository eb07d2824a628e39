"""Pretraining data of the mini models, drawn by all cores into memory: pixels, long captions, short ones, questions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from common import prompts
from common.processes import usable_cores, worker_pool
from common.progress import bar
from dataset.mini.categories import BY_NAME, Category
from dataset.mini.describe import absent_typical, instruction_caption, reference_captions
from dataset.mini.layout import IMAGE_SIZE, Layout, generator, make_layout
from dataset.mini.paint import paint
from dataset.mini.vision_warmup import patch_labels

CAPTIONS_PER_IMAGE = 3
CHUNK = 2000
TEMPLATE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: ",
    "\n{prompt} ASSISTANT:",
)


@dataclass(frozen=True)
class Example:
    """The texts of one pretraining image.

    Attributes:
        captions: long captions that hallucinate (what the language model learns).
        references: clean short captions (what the scorer learns).
        questions: (instruction, answer) pairs about the presence of an object.
        categories: names of the categories in the picture.
        present, absent: object names, the absent ones typical of the scene (to measure the scorer).
    """

    captions: tuple[str, ...]
    references: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    categories: tuple[str, ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Pixels [images, height, width, 3] uint8 (memory-mapped), patch labels [images, patches], and texts."""

    pixels: np.ndarray
    patches: np.ndarray
    examples: tuple[Example, ...]


def _noun(category: Category, rng: np.random.Generator) -> str:
    look = category.looks[rng.integers(len(category.looks))]
    return look.names[rng.integers(len(look.names))][0]


def _questions(layout: Layout, absent: list[str], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    names = sorted(layout.present())
    for name, answer in ((names[rng.integers(len(names))], "Yes"), (absent[0] if absent else "", "No")):
        if name:
            noun = BY_NAME[name].name
            article = "an" if noun[0] in "aeiou" else "a"
            yield prompts.POPE.format(question=f"Is there {article} {noun} in the image?"), answer


def make_example(layout: Layout, rng: np.random.Generator) -> Example:
    """All texts of one scene."""
    absent = [mention.category.name for mention in absent_typical(layout, rng, 3)]
    return Example(
        captions=tuple(instruction_caption(layout, rng) for _ in range(CAPTIONS_PER_IMAGE)),
        references=tuple(reference_captions(layout, rng)),
        questions=tuple(_questions(layout, absent, rng)),
        categories=tuple(sorted(layout.present())),
        present=tuple(_noun(BY_NAME[name], rng) for name in sorted(layout.present())),
        absent=tuple(_noun(BY_NAME[name], rng) for name in absent),
    )


def _draw_chunk(
    path: str, split: str, seed: int, start: int, stop: int, total: int
) -> tuple[list[Example], np.ndarray]:
    shape = (total, IMAGE_SIZE, IMAGE_SIZE, 3)
    pixels = np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)
    examples, patches = [], []
    for index in range(start, stop):
        rng = generator(split, seed, index)
        picture, layout = paint(make_layout(rng), rng)
        pixels[index] = np.asarray(picture)
        patches.append(patch_labels(layout))
        examples.append(make_example(layout, rng))
    return examples, np.stack(patches)


def draw_corpus(count: int, seed: int, split: str = "pretrain", folder: str | None = None) -> Corpus:
    """Draw `count` scenes with all cores. Pixels go to a file in `folder`, 38 KB each.

    Without a folder it is a temporary one, which has no name any more when this returns or fails: its room is free when
    the process ends, however it does.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="mini-corpus-") as place:
            return draw_corpus(count, seed, split, place)
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    path = str(Path(folder) / f"{split}-{seed}-{count}.u8")
    np.memmap(path, dtype=np.uint8, mode="w+", shape=shape).flush()
    starts = range(0, count, CHUNK)
    with worker_pool(usable_cores(), "spawn") as pool:
        jobs = [pool.submit(_draw_chunk, path, split, seed, s, min(s + CHUNK, count), count) for s in starts]
        parts = [job.result() for job in bar(jobs, "drawing", len(jobs), unit=f"{CHUNK} img")]
    pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    examples = tuple(example for part, _ in parts for example in part)
    return Corpus(pixels, np.concatenate([patches for _, patches in parts]), examples)


class Sized(Protocol):
    """Arguments that say how many images there are and how many make a step."""

    images: int
    batch_size: int


def tokenizer_texts(corpus: Corpus) -> list[str]:
    """What the vocabulary is learned from: texts of some images, and the fixed instructions often enough to count."""
    texts = [text for e in corpus.examples[:6000] for text in (*e.captions, *e.references)]
    fixed = [TEMPLATE[0], TEMPLATE[1].format(prompt=prompts.CAPTION_EVAL), TEMPLATE[1].format(prompt=prompts.POPE)]
    return [*texts, *fixed * 1000]


def visits_of(steps: int, args: Sized) -> int:
    """How often each image is seen in so many steps, rounded up."""
    return max(1, -(-steps * args.batch_size // args.images))
