"""Captions of many images by a model: batched, resumable, the same bytes however often the run is killed.

A caption must not depend on where an earlier run stopped. Batches are therefore cut by position in the whole list of
images, never by what is left to do; sampling is seeded by the run's seed and the number of the batch; and a batch that
was only partly written is generated whole again, of which only the missing captions are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.args import GenerationArguments
from common.errors import ArgumentError, DataError
from common.files.images import ImageFolder
from common.files.record_files import caption_from_json, caption_to_json, image_id_of
from common.files.records import Caption
from common.files.storage import ResumableLines, read_json_lines
from common.paths import display
from common.progress import announce, bar, batches


class Captioner(Protocol):
    """What captioning needs of a model; every :class:`common.models.base.CaptionModel` is one."""

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """The whole text input."""

    def generate(self, images: Sequence[Any], texts: Sequence[str], **decoding: Any) -> list[str]:
        """One text for each (image, text input) pair."""


@dataclass(frozen=True)
class CaptionPlan:
    """What to generate and how.

    Attributes:
        prompt: the instruction, without the model's template.
        decoding: num_beams, max_new_tokens, length_penalty and, where sampled, do_sample, temperature, top_p.
        batch_size: captions in one generate call.
        per_image: captions of each image.
        seed: of the run.
    """

    prompt: str
    decoding: Mapping[str, Any]
    batch_size: int
    per_image: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("--infer_bs", self.batch_size), ("--captions_per_image", self.per_image)):
            if value < 1:
                raise ArgumentError(f"{name} is {value}; give a number from 1")
        if self.per_image > 1 and not self.sampled:
            raise ArgumentError(f"{self.per_image} captions of an image would all be the same; add --do_sample")

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn at random."""
        return bool(self.decoding.get("do_sample"))

    def batch_decoding(self, batch: int) -> dict[str, Any]:
        """The generate settings of one batch, with its own seed where tokens are drawn."""
        if not self.sampled:
            return dict(self.decoding)
        digest = hashlib.sha256(f"{self.seed}/{batch}".encode()).digest()
        return {**self.decoding, "seed": int.from_bytes(digest[:4], "big")}


@dataclass(frozen=True)
class Unit:
    """One caption that is to be made."""

    image: str
    image_id: int
    sample: int
    position: int  # of the image in the whole list

    @property
    def key(self) -> str:
        """Identity for resuming, that of the record."""
        return f"{self.image_id}/{self.sample}"


def deterministic_decoding(args: GenerationArguments) -> dict[str, Any]:
    """Generate settings of beam search (or greedy, with one beam). Raises ArgumentError for counts below one."""
    for name in ("generate_num_beams", "max_new_tokens"):
        if getattr(args, name) < 1:
            raise ArgumentError(f"--{name} is {getattr(args, name)}; give a number from 1")
    return {
        "num_beams": args.generate_num_beams,
        "max_new_tokens": args.max_new_tokens,
        "length_penalty": args.length_penalty,
    }


def caption_images(
    model: Captioner,
    images: ImageFolder,
    names: Sequence[str],
    plan: CaptionPlan,
    out: ResumableLines,
    span: tuple[int, int] = (0, -1),
) -> None:
    """Generate what `out` does not hold yet, in the order of `names`, and append it.

    Args:
        span: first image and the one to stop before (-1: all); the batches do not depend on it.

    A blank caption is kept as it is: generating it again would give the same. Raises DataError for two names with one
    id, and if more than 1 % of the images cannot be read.
    """
    units = _units(names, plan.per_image)
    last = span[1] if span[1] >= 0 else len(names)
    text = model.format_prompt(plan.prompt)
    groups = batches(units, plan.batch_size)
    wanted = [[u for u in g if span[0] <= u.position < last and u.key not in out.done] for g in groups]
    total = sum(map(len, wanted))
    announce(f"{total} captions to generate, {len(out.done)} are there already")
    work = [(i, group, todo) for i, (group, todo) in enumerate(zip(groups, wanted, strict=True)) if todo]
    for i, group, todo in bar(work, "captions", len(work), unit="batch"):
        keys = {u.key for u in todo}
        records = _caption_batch(model, images, group, text, plan.batch_decoding(i))
        out.write(caption_to_json(r) for r in records if r.key in keys)
        images.check_losses(len(names))


def _units(names: Sequence[str], per_image: int) -> list[Unit]:
    seen: dict[int, str] = {}
    units = []
    for position, name in enumerate(names):
        image_id = image_id_of(name)
        if seen.setdefault(image_id, name) != name:
            raise DataError(f"images {seen[image_id]} and {name} have the same id {image_id}; rename one")
        units += [Unit(name, image_id, sample, position) for sample in range(per_image)]
    return units


def _caption_batch(
    model: Captioner, images: ImageFolder, group: Sequence[Unit], text: str, decoding: Mapping[str, Any]
) -> list[Caption]:
    """Captions of one batch; units whose image cannot be read are left out (and remembered by `images`)."""
    opened = {name: images.open(name) for name in dict.fromkeys(u.image for u in group)}
    readable = [u for u in group if opened[u.image] is not None]
    if not readable:
        return []
    texts = model.generate([opened[u.image] for u in readable], [text] * len(readable), **decoding)
    return [Caption(u.image, u.image_id, t, u.sample) for u, t in zip(readable, texts, strict=True)]


@dataclass(frozen=True)
class CaptionCounts:
    """What a captions file holds."""

    captions: int
    blank: int
    image_ids: tuple[int, ...]

    def line(self, path: Any) -> str:
        """One line for the end of a run."""
        return f"{display(path)}: {self.captions} captions of {len(self.image_ids)} images, {self.blank} blank"


def count_captions(out: ResumableLines) -> CaptionCounts:
    """Read back what the file holds now."""
    records = [caption_from_json(value, f"{display(out.path)}:{n}") for n, value in read_json_lines(out.path)]
    ids = tuple(sorted({record.image_id for record in records}))
    return CaptionCounts(len(records), sum(not record.caption.strip() for record in records), ids)
