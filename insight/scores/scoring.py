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
from insight.scores.windows import BEST, PATCH, SPAN, WindowGrid, object_scores, whole_image, window_grid

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

MOST_WORDS = 10  # a longer object is a sentence that an extractor cut wrongly, not an object
TEXTS_AT_ONCE = 256
DECIMALS = 4


class Scorer(Protocol):
    """What scoring needs of a model; :class:`insight.scores.relevance.ClipScorer` is one."""

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings [n, width]."""

    def embed_images(self, images: Sequence[Image], grids: Sequence[WindowGrid]) -> list[torch.Tensor]:
        """Unit embeddings [windows, width] of each image."""


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

    def grid(self, image: Image) -> WindowGrid:
        """The windows of an image."""
        if self.mode == "image":
            return whole_image(image.height, image.width)
        return window_grid(image.height, image.width, self.patch, self.span)


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


@dataclass
class RelevanceJob:
    """Scores records and writes them to a resumable file.

    Args:
        scorer: the model.
        images: where the images lie; unreadable ones are skipped, remembered there, and bounded.
        group: images that are embedded together.
    """

    scorer: Scorer
    images: ImageFolder
    settings: ScoreSettings
    group: int = 16

    def run(self, records: Sequence[CaptionObjects], out: ResumableLines, first: int = 0, last: int = -1) -> None:
        """Score records `first` to `last` (before; -1: all) that are not in `out` yet, in file order.

        Raises DataError: more than 1 % of the images unreadable, or a score that is no number.
        """
        chosen = {r.key for r in records[first : None if last < 0 else last]} - out.done
        groups = [g for g in self._groups(records) if any(r.key in chosen for r in g)]
        texts = TextTable(self.scorer, [self.settings.text(m.text) for r in records for m in r.objects])
        total = len({r.image for r in records})
        for group in bar(groups, "scoring", total=len(groups), unit="group"):
            scored = self.score(group, texts)
            self.images.check_losses(total)
            out.write(objects_to_json(record) for record in scored if record.key in chosen)
        self.images.check_losses(total)

    def _groups(self, records: Sequence[CaptionObjects]) -> Iterator[list[CaptionObjects]]:
        """Captions of `group` images at a time; consecutive captions of one image stay together."""
        by_image = [list(same) for _, same in groupby(records, key=lambda r: r.image)]
        for part in batches(by_image, self.group):
            yield [record for same in part for record in same]

    def score(self, records: Sequence[CaptionObjects], texts: TextTable) -> list[CaptionObjects]:
        """The records with scores; those of an unreadable image are left out."""
        names = list(dict.fromkeys(r.image for r in records))
        opened = {name: image for name in names if (image := self.images.open(name)) is not None}
        grids = {name: self.settings.grid(image) for name, image in opened.items()}
        embedded = self.scorer.embed_images(list(opened.values()), list(grids.values()))
        windows = dict(zip(opened, embedded, strict=True))
        scores = {
            name: self._image_scores([r for r in records if r.image == name], windows[name], grids[name], texts)
            for name in opened
        }
        return [self._filled(r, scores[r.image]) for r in records if r.image in scores]

    def _image_scores(
        self, records: Sequence[CaptionObjects], windows: torch.Tensor, grid: WindowGrid, texts: TextTable
    ) -> Mapping[str, float]:
        """Text -> score of all objects that the captions of one image name."""
        wanted = list(dict.fromkeys(self.settings.text(m.text) for r in records for m in r.objects))
        if not wanted:
            return {}
        similarity = 100 * windows @ texts.rows(wanted).T
        scores = object_scores(similarity, grid, self.settings.best).tolist()
        for text, score in zip(wanted, scores, strict=True):
            if not math.isfinite(score):
                raise DataError(
                    f"the score of '{text}' for image {records[0].image} is {score}; "
                    "the weights are damaged or too large for --clip_dtype: try --clip_dtype float32"
                )
        return {text: round(score, DECIMALS) for text, score in zip(wanted, scores, strict=True)}

    def _filled(self, record: CaptionObjects, scores: Mapping[str, float]) -> CaptionObjects:
        mentions = tuple(replace(m, score=scores[self.settings.text(m.text)]) for m in record.objects)
        return replace(record, objects=mentions)
