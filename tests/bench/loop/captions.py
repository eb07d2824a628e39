"""Captions from JPEG files, as `insight/caption.py` makes them, of a model with random weights.

Nothing ends by itself then, so every caption is ended at a length drawn from real captions by its name: the same ones
whoever is asked, and whatever stands beside them.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.captioning.captioner import CaptionPlan, caption_images
from common.files.images import ImageFolder
from common.files.record_files import caption_key
from common.files.storage import ResumableLines, read_json_lines
from common.models.base import CaptionModel
from common.models.generation import growing
from common.models.generation.decoding import Decoding
from common.models.generation.plain import by_transformers
from common.models.generation.search.beams import Beams
from common.models.generation.search.branches import Branches
from common.models.generation.tree import engine
from common.models.generation.tree.llama import Decoder, decoder_of
from common.models.generation.tree.trees import Tree
from common.models.text.ids import PromptIds
from common.progress import batches
from common.prompts import TRAIN
from common.transfer import sent
from tests.bench.loop.device_clock import DeviceClock

TOKENS_A_WORD = 1.3  # of a Llama tokenizer on captions
BANDWIDTH = {"NVIDIA H100 80GB HBM3": 3350e9}  # bytes a second, the makers' figures
LAST_ID = 31999  # ends a caption of random weights once in 32,000 tokens
PLAIN_LENGTH_PENALTY = 0.0


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens, one of which belongs to each name."""

    drawn: tuple[int, ...]

    @classmethod
    def of(cls, captions: Sequence[str], most: int) -> Lengths:
        """Those of real captions."""
        return cls(tuple(min(most, round(TOKENS_A_WORD * len(text.split()))) for text in captions))

    def __call__(self, name: str) -> int:
        return self.drawn[zlib.crc32(name.encode()) % len(self.drawn)]


def limited(kind: type[Any], lengths: Callable[[str], int]) -> type[Any]:
    """Beams or branches of this kind that end at their length in tokens, which their name has."""

    class Limited(kind):  # type: ignore[misc]
        """With a limit for each place; `over` is what the engine reads."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.limit = torch.zeros(self.over.shape, dtype=torch.long, device=self.over.device)

        def tensors(self) -> tuple[Tensor, ...]:
            """All state, slots first."""
            return *super().tensors(), self.limit

        def start(self, at: Tensor, branch: Tensor, keys: Sequence[str]) -> None:
            """Begin anew, and look the lengths up."""
            super().start(at, branch, keys)
            limits = sent([lengths(key) for key in keys], self.limit.device)
            self.limit[at, branch if self.limit.shape[1] > 1 else 0] = limits

        def choose(self, logits: Tensor, live: int) -> Any:
            """As before, and over at the limit."""
            chosen = super().choose(logits, live)
            said = self.count[:live] if hasattr(self, "count") else self.step[:live, None]
            self.over[:live].logical_or_(said >= self.limit[:live])
            return chosen

        def ended(self, places: Sequence[tuple[int, int]]) -> Any:
            """Of beams the best running ones, as none finished."""
            if hasattr(self, "count"):
                return super().ended(places)
            at = sent([slot for slot, _ in places], self.limit.device)
            return self.tokens[at, 0], self.limit[at, 0]

    return Limited


@contextmanager
def ending_at(lengths: Lengths) -> Iterator[None]:
    """Let the engine end what it grows at these lengths."""
    engine.Beams, engine.Branches = limited(Beams, lengths), limited(Branches, lengths)  # type: ignore[misc]
    try:
        yield
    finally:
        engine.Beams, engine.Branches = Beams, Branches  # type: ignore[misc]


@dataclass
class Traffic:
    """What trees do while captions are made.

    Attributes:
        clock: of tower, trunks and steps.
        steps: of all decoders.
        moved: bytes that these read: weights once a step, and the filled places of every slot in use.
    """

    clock: DeviceClock
    steps: int = 0
    moved: int = 0


@contextmanager
def counted(model: CaptionModel) -> Iterator[Traffic]:
    """Count and time while captions are made."""
    traffic = Traffic(DeviceClock(model.device))
    see = model.image_features

    class Counting(engine.TreeDecoder):
        def _plant(self, trees: list[Tree], chosen: list[int]) -> None:
            with traffic.clock.piece("trunks"):
                super()._plant(trees, chosen)

        def _step(self) -> None:
            branches = self.shape.branches
            places = sum(
                self.root_length + len(slot.tree.trunk) + branches * (1 + max(slot.at)) for _, slot in self._used()
            )
            traffic.steps += 1
            traffic.moved += step_bytes(self.decoder, places, self.tables.keys.element_size())
            with traffic.clock.piece("steps"):
                super()._step()

    def watched(pixels: Tensor) -> Tensor:
        with traffic.clock.piece("tower"):
            return see(pixels)

    growing.TreeDecoder = Counting  # type: ignore[misc]
    model.image_features = watched  # type: ignore[method-assign]
    try:
        yield traffic
    finally:
        growing.TreeDecoder = engine.TreeDecoder  # type: ignore[misc]
        del model.image_features


def step_bytes(decoder: Decoder, places: int, size: int) -> int:
    """Read by one step: all weights but the embedding, and keys and values of so many places."""
    cache = 2 * len(decoder.layers) * decoder.key_heads * decoder.head_size * places
    return weight_bytes(decoder) + cache * size


@functools.lru_cache(maxsize=1)
def weight_bytes(decoder: Decoder) -> int:
    """Of layers and head."""
    weights = [*decoder.trunk.layers.parameters(), *decoder.head.parameters()]
    return sum(w.numel() * w.element_size() for w in weights)


def bandwidth_share(moved: float, seconds: float, device: torch.device) -> float | None:
    """Of what the maker says of the card; None for a card that is not known."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return moved / seconds / BANDWIDTH[card] if card in BANDWIDTH else None


@dataclass(frozen=True)
class Way:
    """How captions are made."""

    beams: int = 1
    samples: int = 1


def make_captions(
    model: CaptionModel, folder: Path, names: list[str], way: Way, lengths: Lengths, out: Path
) -> dict[str, Any]:
    """Caption the photos into `out`; images and tokens of finished text a second, opening of files included."""
    model.stop_ids = frozenset()
    most = max(lengths.drawn)
    decoding: dict[str, Any] = {"num_beams": way.beams, "max_new_tokens": most, "length_penalty": PLAIN_LENGTH_PENALTY}
    if way.samples > 1:
        decoding |= {"do_sample": True, "temperature": 1.0, "top_p": 1.0}
    plan = CaptionPlan(TRAIN, decoding, None, way.samples)  # type: ignore[arg-type]
    out.unlink(missing_ok=True)
    begin = time.perf_counter()
    with ending_at(lengths), counted(model) as traffic, ResumableLines(out, caption_key) as lines:
        caption_images(model, ImageFolder(folder), names, plan, lines)
    seconds = time.perf_counter() - begin
    tokens = sum(len(str(record["caption"]).split()) for _, record in read_json_lines(out))
    worked = traffic.clock.seconds()
    return {
        "images": len(names),
        "seconds": round(seconds, 2),
        "images_s": len(names) / seconds,
        "tokens_s": tokens / seconds,
        "steps": traffic.steps,
        "tokens_s_of_steps": tokens / worked["steps"] if worked else None,
        "bandwidth_share": bandwidth_share(traffic.moved, seconds, model.device),
        "bandwidth_share_of_steps": bandwidth_share(traffic.moved, worked["steps"], model.device) if worked else None,
        "card_waits": traffic.clock.waited(),
        **{f"{what}_ms_an_image": 1e3 * spent / len(names) for what, spent in worked.items()},
    }


def make_plainly(
    model: CaptionModel, folder: Path, names: list[str], beams: int, together: int, lengths: Lengths
) -> dict[str, Any]:
    """The same by transformers' generate, `together` images at a time.

    A batch takes as many steps as its longest caption has tokens; what stands behind the end of the others is no text.
    """
    images = ImageFolder(folder)
    prompt = model.encode_prompt(model.format_prompt(TRAIN), for_generation=True)
    begin, moved = time.perf_counter(), 0
    for some in batches(names, together):
        rows = _prompt_rows(model, images.open_all(some), prompt)
        steps = max(map(lengths, some))
        mask = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
        inputs = {"inputs_embeds": rows, "attention_mask": mask}
        by_transformers(model.lm, inputs, Decoding(beams, steps, PLAIN_LENGTH_PENALTY), (LAST_ID,), ())
        moved += steps * _plain_step_bytes(model, rows, beams, steps)
    seconds = time.perf_counter() - begin
    return {
        "images": len(names),
        "together": together,
        "seconds": round(seconds, 2),
        "images_s": len(names) / seconds,
        "tokens_s": sum(map(lengths, names)) / seconds,
        "bandwidth_share": bandwidth_share(moved, seconds, model.device),
    }


def _prompt_rows(model: CaptionModel, images: Sequence[Any], prompt: PromptIds) -> Tensor:
    """Embeddings [n, t, d] of the prompt with each image in its place."""
    with torch.no_grad():
        features = model.image_features(model.preprocess(images))
        embed = model.lm.get_input_embeddings()
        before, after = (embed(torch.tensor(ids, device=model.device)) for ids in (prompt.before, prompt.after))
        return torch.stack([torch.cat([before, one.to(before.dtype), after]) for one in features])


def _plain_step_bytes(model: CaptionModel, rows: Tensor, beams: int, steps: int) -> int:
    """Read by a step in the mean: each beam has an image's keys and values of its own."""
    decoder = decoder_of(model.lm.model, model.lm.get_output_embeddings(), join=False)
    return step_bytes(decoder, len(rows) * beams * (rows.shape[1] + steps // 2), rows.element_size())
