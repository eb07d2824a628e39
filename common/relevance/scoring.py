"""The long part of relevance scoring: images and captions in, a score for every object mention out, resumable.

A score must not depend on where an earlier run was killed. The work is therefore cut into groups by position in the
file (never by what is left to do), a group is computed whole even if part of it is written already, and its texts
are embedded in groups of the same kind; scores are rounded to four decimals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from common.errors import DataError
from common.files.images import ImageFolder
from common.files.record_files import objects_to_json
from common.files.records import CaptionObjects, ObjectMention
from common.files.storage import ResumableLines
from common.progress import bar, batches
from common.relevance.decoding import decoded_groups
from common.relevance.windows import BEST, PATCH, SPAN, WindowGrid, object_scores, whole_image, window_grid

if TYPE_CHECKING:
    import torch

    from common.transfer import Returned

MOST_WORDS = 10  # a longer object is a sentence that an extractor cut wrongly, not an object
TEXTS_AT_ONCE = 256
DECIMALS = 4
MODES = ("windows", "image")


class Scorer(Protocol):
    """What scoring needs of a model; :class:`common.relevance.clip_scorer.ClipScorer` is one."""

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings [n, width]."""

    def embed_images(self, images: Sequence[torch.Tensor], grids: Sequence[WindowGrid]) -> list[torch.Tensor]:
        """Unit embeddings [windows, width] of each image, uint8 [height, width, 3]."""


@dataclass(frozen=True)
class ScoreSettings:
    """How an object's score is computed.

    Attributes:
        prompt: text of an object, with `{object}` in its place.
        mode: `windows`, or `image` for the whole image.
        patch: pixels of a patch; span: patches of a window's side; best: patches that are averaged.
    """

    prompt: str = "A photo containing {object}."
    mode: str = "windows"
    patch: int = PATCH
    span: int = SPAN
    best: int = BEST

    def text(self, name: str) -> str:
        """The text that stands for an object: lower case, single spaces."""
        return self.prompt.replace("{object}", " ".join(name.split()).lower())

    def grid(self, height: int, width: int) -> WindowGrid:
        """The windows of an image of this size in pixels."""
        if self.mode == "image":
            return whole_image(height, width)
        return window_grid(height, width, self.patch, self.span)


def is_scorable(mention: ObjectMention) -> bool:
    """Whether a mention is an object that can be scored: not empty, at most ten words."""
    return 0 < len(mention.text.split()) <= MOST_WORDS


def without_unscorable(records: Sequence[CaptionObjects]) -> tuple[list[CaptionObjects], int]:
    """The records without mentions that cannot be scored, and how many those were."""
    kept = [replace(r, objects=tuple(filter(is_scorable, r.objects))) for r in records]
    return kept, sum(len(r.objects) for r in records) - sum(len(r.objects) for r in kept)


@dataclass
class TextTable:
    """Embedding of each distinct text, made when first asked for, together with its fixed neighbours."""

    scorer: Scorer
    texts: list[str]
    _known: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.texts = list(dict.fromkeys(self.texts))
        self._position = {text: i for i, text in enumerate(self.texts)}

    def rows(self, texts: Sequence[str]) -> torch.Tensor:
        """[n, width] for these texts."""
        import torch

        for text in texts:
            if text not in self._known:
                first = self._position[text] // TEXTS_AT_ONCE * TEXTS_AT_ONCE
                group = self.texts[first : first + TEXTS_AT_ONCE]
                self._known.update(zip(group, self.scorer.embed_texts(group), strict=True))
        return torch.stack([self._known[text] for text in texts])


@dataclass(frozen=True)
class ScoredGroup:
    """The captions of one group of images, with their scores as the device has them.

    Attributes:
        group: all its records.
        wanted: image -> its texts, for the images that could be read; `scores` holds a number for each, in this order.
    """

    group: Sequence[CaptionObjects]
    settings: ScoreSettings
    wanted: Mapping[str, Sequence[str]]
    scores: Returned

    def records(self) -> Iterator[CaptionObjects]:
        """The records with scores; those of an unreadable image are left out. Raises DataError for no number."""
        numbers = iter(self.scores.lists()[0])
        table = {
            image: {text: _checked(next(numbers), text, image) for text in texts}
            for image, texts in self.wanted.items()
        }
        for record in self.group:
            if record.image in table:
                yield self._filled(record, table[record.image])

    def _filled(self, record: CaptionObjects, scores: Mapping[str, float]) -> CaptionObjects:
        mentions = tuple(replace(m, score=scores[self.settings.text(m.text)]) for m in record.objects)
        return replace(record, objects=mentions)


def _checked(score: float, text: str, image: str) -> float:
    if not math.isfinite(score):
        raise DataError(
            f"the score of '{text}' for image {image} is {score}; "
            "the weights are damaged or too large for --clip_dtype: try --clip_dtype float32"
        )
    return round(score, DECIMALS)


@dataclass
class RelevanceJob:
    """Scores records and writes them to a resumable file.

    Args:
        scorer: the model.
        images: where the images lie; unreadable ones are skipped, remembered there, and bounded.
        group: images that are embedded together.
        device: of the scorer.
        workers: processes that decode images; None: as many as pay.
    """

    scorer: Scorer
    images: ImageFolder
    settings: ScoreSettings
    group: int = 16
    device: str = "cpu"
    workers: int | None = None

    def run(self, records: Sequence[CaptionObjects], out: ResumableLines, first: int = 0, last: int = -1) -> None:
        """Score records `first` to `last` (before; -1: all) that are not in `out` yet, in file order.

        Raises DataError: more than 1 % of the images unreadable, or a score that is no number.
        """
        chosen = {r.key for r in records[first : None if last < 0 else last]} - out.done
        groups = [g for g in self._groups(records) if any(r.key in chosen for r in g)]
        groups = out.share(groups, [r.key for r in records])
        total = len({r.image for r in records})
        for scored in bar(self._scored(groups, records), "scoring", total=len(groups), unit="group"):
            self.images.check_losses(total)
            out.write(objects_to_json(record) for record in scored.records() if record.key in chosen)
        self.images.check_losses(total)

    def score(self, records: Sequence[CaptionObjects]) -> list[CaptionObjects]:
        """The records with scores, in their order; nothing is written. Raises DataError as :meth:`run`."""
        scored = [r for group in self._scored(list(self._groups(records)), records) for r in group.records()]
        self.images.check_losses(len({r.image for r in records}))
        return scored

    def _scored(
        self, groups: Sequence[Sequence[CaptionObjects]], records: Sequence[CaptionObjects]
    ) -> Iterator[ScoredGroup]:
        """The groups' scores, each given out when the device has been told of the next, so that it need not wait."""
        texts = TextTable(self.scorer, [self.settings.text(m.text) for r in records for m in r.objects])
        names = [list(dict.fromkeys(r.image for r in g)) for g in groups]
        waiting = None
        decoded = decoded_groups(self.images, names, getattr(self.scorer, "device", "cpu"), self.workers)
        for group, pixels in zip(groups, decoded, strict=True):
            following = self._score(group, pixels, texts)
            if waiting is not None:
                yield waiting
            waiting = following
        if waiting is not None:
            yield waiting

    def _groups(self, records: Sequence[CaptionObjects]) -> Iterator[list[CaptionObjects]]:
        """Captions of `group` images at a time; consecutive captions of one image stay together."""
        by_image = [list(same) for _, same in groupby(records, key=lambda r: r.image)]
        for part in batches(by_image, self.group):
            yield [record for same in part for record in same]

    def _score(
        self, records: Sequence[CaptionObjects], pixels: Mapping[str, torch.Tensor], texts: TextTable
    ) -> ScoredGroup:
        """Scores of the records whose image is among the pixels; they may still be on their way to the host."""
        import torch

        from common.transfer import Returned

        grids = {name: self.settings.grid(*image.shape[:2]) for name, image in pixels.items()}
        embedded = self.scorer.embed_images(list(pixels.values()), list(grids.values()))
        wanted, scores = {}, []
        for (name, grid), windows in zip(grids.items(), embedded, strict=True):
            of_image = [m for r in records if r.image == name for m in r.objects]
            wanted[name] = list(dict.fromkeys(self.settings.text(m.text) for m in of_image))
            if wanted[name]:
                similarity = 100 * windows @ texts.rows(wanted[name]).T
                scores.append(object_scores(similarity, grid, self.settings.best))
        return ScoredGroup(records, self.settings, wanted, Returned.of((torch.cat(scores or [torch.empty(0)]),)))
