"""Captions of many images by a model: many at a time, resumable, the same bytes however often the run is killed.

A caption must not depend on where an earlier run stopped. A model that grows trees (every one of ours) makes each by
itself, and a sample from the run's seed, its image and its number. Of what can only be asked in batches, these are cut
by position in the whole list of images, never by what is left to do; sampling is seeded by the run's seed and the
number of the batch; and a batch that was only partly written is generated whole again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from common.args import GenerationArguments
from common.captioning.asking import BATCH, Generator, Request, Speaker, ask
from common.errors import ArgumentError
from common.files.image_ids import image_ids_of
from common.files.images import ImageFolder
from common.files.record_files import caption_from_json, caption_to_json
from common.files.records import Caption
from common.files.storage import ResumableLines, read_json_lines
from common.paths import display
from common.progress import announce, bar, batches


@dataclass(frozen=True)
class CaptionPlan:
    """What to generate and how.

    Attributes:
        prompt: the instruction, without the model's template.
        decoding: num_beams, max_new_tokens, length_penalty and, where sampled, do_sample, temperature, top_p.
        batch_size: captions that are made at a time; None: as many as are useful and fit into the memory.
        per_image: captions of each image.
        seed: of the run.
    """

    prompt: str
    decoding: Mapping[str, Any]
    batch_size: int | None
    per_image: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("--infer_bs", self.batch_size), ("--captions_per_image", self.per_image)):
            if value is not None and value < 1:
                raise ArgumentError(f"{name} is {value}; give a number from 1")
        if self.per_image > 1 and not self.sampled:
            raise ArgumentError(f"{self.per_image} captions of an image would all be the same; add --do_sample")

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn at random."""
        return bool(self.decoding.get("do_sample"))

    def seeding(self) -> dict[str, int]:
        """The seed, where tokens are drawn."""
        return {"seed": self.seed} if self.sampled else {}

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
    model: Generator,
    images: ImageFolder,
    names: Sequence[str],
    plan: CaptionPlan,
    out: ResumableLines,
    span: tuple[int, int] = (0, -1),
) -> None:
    """Generate what `out` does not hold yet, in the order of `names`, and append it.

    Args:
        span: first image and the one to stop before (-1: all); captions do not depend on it.

    A blank caption is kept as it is: generating it again would give the same. Raises DataError if more than 1 % of the
    images cannot be read.
    """
    units = _units(names, plan.per_image)
    last = span[1] if span[1] >= 0 else len(names)
    wanted = [u for u in units if span[0] <= u.position < last and u.key not in out.done]
    announce(f"{len(wanted)} captions to generate, {len(out.done)} are there already")
    make = _captions if isinstance(model, Speaker) else _captions_in_batches
    for records in make(model, images, units, wanted, plan, out):
        out.write(caption_to_json(record) for record in records)
        images.check_losses(len(names))


def _captions(
    model: Any,
    images: ImageFolder,
    units: Sequence[Unit],
    wanted: Sequence[Unit],
    plan: CaptionPlan,
    out: ResumableLines,
) -> Iterator[list[Caption]]:
    """Captions of each image that lacks some, in their order, each made by itself."""
    text = model.format_prompt(plan.prompt)
    lacking = [list(group) for _, group in groupby(wanted, key=lambda unit: unit.position)]
    lacking = out.share(lacking, [unit.key for unit in units])
    requests = [Request(us[0].image, (text,) * len(us), tuple(u.key for u in us)) for us in lacking]
    said = ask(model, images, requests, {**plan.decoding, **plan.seeding()}, plan.batch_size)
    for some, texts in bar(zip(lacking, said, strict=True), "captions", len(lacking), unit="img"):
        yield [Caption(u.image, u.image_id, t, u.sample) for u, t in zip(some, texts or (), strict=False)]


def _captions_in_batches(
    model: Generator,
    images: ImageFolder,
    units: Sequence[Unit],
    wanted: Sequence[Unit],
    plan: CaptionPlan,
    out: ResumableLines,
) -> Iterator[list[Caption]]:
    """Captions of each batch that lacks some."""
    keys = {u.key for u in wanted}
    groups = list(enumerate(batches(list(units), plan.batch_size or BATCH)))
    work = [(i, group) for i, group in groups if any(u.key in keys for u in group)]
    work = out.share(work, [unit.key for unit in units])
    text = model.format_prompt(plan.prompt)
    for i, group in bar(work, "captions", len(work), unit="batch"):
        records = _caption_batch(model, images, group, text, plan.batch_decoding(i))
        yield [record for record in records if record.key in keys]


def _units(names: Sequence[str], per_image: int) -> list[Unit]:
    ids = image_ids_of(names)
    return [
        Unit(name, ids[name], sample, position) for position, name in enumerate(names) for sample in range(per_image)
    ]


def _caption_batch(
    model: Generator, images: ImageFolder, group: Sequence[Unit], text: str, decoding: Mapping[str, Any]
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
