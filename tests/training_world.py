"""A tiny world to train in: a random LLaVA, noise images, captions with spans in the published layout."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.files.storage import read_json
from common.manifest import manifest_path
from common.paths import MINI_CLIP
from common.relevance.noted import NotedScorer
from tests.unit.models.tiny_checkpoints import write_llava, write_tokenizer

OBJECTS = ("a dog", "a cat", "a red bench", "the human", "a user", "an assistant")


@dataclass(frozen=True)
class World:
    """Paths of everything that a training run takes."""

    root: Path
    model: Path
    images: Path
    pos_neg: Path
    sentences: Path

    def train_flags(self, save: Path, **more: object) -> list[str]:
        """Command line of a short run; `more` overrides."""
        flags: dict[str, object] = {
            "llava_path": self.model,
            "llava_vit_path": self.model / "tower",
            "device": "cpu",
            "pos_neg_data_path": self.pos_neg,
            "sentence_data_path": self.sentences,
            "image_dir_path": self.images,
            "llava_ckpt_save_path": save,
            "report_to": "none",
            "train_lr": 1e-3,
            "train_bs": 2,
            "max_steps": 6,
            "save_steps": 2,
            "logging_steps": 1,
            "valid_data_split": 0.2,
        }
        flags |= more
        return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def make_world(root: Path, captions: int = 10, an_image: int = 1) -> World:
    """Write a world of `an_image` captions an image, all different; every caption has a positive, a negative and a span
    between the thresholds.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_tokenizer(root / "tokenizer.model")
    write_llava(root / "llava", root / "tokenizer.model")
    (root / "images").mkdir()
    noise, words = np.random.default_rng(0), random.Random(0)
    spans, sentences = [], []
    for number in range(captions):
        name = f"{number // an_image:012d}.png"
        if number % an_image == 0:
            pixels = noise.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name)
        parts = [f" there is {words.choice(OBJECTS)}{mark}" for mark in (",", ",", ".")]
        parts[0] = parts[0].lstrip()
        text = "".join(parts)
        start = 0
        for part, score in zip(parts, (35.0 + number, 20.0, 27.0), strict=True):
            spans.append({"image": name, "sentence": text[: start + len(part)], "position": start, "score": score})
            start += len(part)
        sentences.append({"image": name, "sentence": text, "mean": 29.0, "min": 24.0})
    (root / "pos_neg.json").write_text(json.dumps(spans), encoding="utf-8")
    (root / "sentences.json").write_text(json.dumps(sentences), encoding="utf-8")
    return World(root, root / "llava", root / "images", root / "pos_neg.json", root / "sentences.json")


def weights(folder: Path) -> bytes:
    """The result of a run, as bytes."""
    return (folder / "trained.safetensors").read_bytes()


def log(folder: Path) -> list[dict[str, Any]]:
    """Log of a finished run."""
    entries: list[dict[str, Any]] = read_json(folder / "trained.safetensors.manifest.json")["log"]
    return entries


CUT = {"hallucinated": -20.0, "grounded": -10.0, "sentence": -15.0}  # what a random model's words are scored around
MOVED = {20.0: -25.0, 27.0: -15.0}  # scores of the spans at which these thresholds cut as the published ones do


def bundled_scorer() -> NotedScorer:
    """The note of `checkpoints/mini-clip`."""
    return NotedScorer.of(str(MINI_CLIP), None)


def note_scorer(world: World) -> World:
    """The same world, as if its spans came from the bundled scorer: with the manifest that says so."""
    spans = [{**span, "score": MOVED.get(span["score"], span["score"])} for span in read_json(world.pos_neg)]
    world.pos_neg.write_text(json.dumps(spans), encoding="utf-8")
    noted = {"thresholds": CUT, "scorer": asdict(bundled_scorer()), "extractor": {"extractor": "spacy"}}
    manifest_path(world.pos_neg).write_text(json.dumps(noted), encoding="utf-8")
    return world
