"""Captions judged one by one, by the functions of `eval_auto.py` and `compare.py`: their numbers are the page's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common.errors import DataError
from common.files.gold import Truth, missing_images
from common.files.records import Caption, Result
from common.files.storage import read_record
from common.paths import display
from evaluate.chair.counting import CaptionScore, score_caption
from evaluate.chair.parser import ChairParser, Mention, ParsedText
from evaluate.chair.places import Place, mention_places
from evaluate.compare import compare, require_comparable
from evaluate.eval_auto import (
    AutoArguments,
    by_stated_names,
    captioning_settings,
    ground_truth,
    named_tagger,
    read_evaluated,
    with_half_truth,
)
from evaluate.metrics.paired import Difference, McNemar
from evaluate.metrics.stats import Units
from evaluate.report_page.sources import Judged
from evaluate.results.caption_scoring import score_captions
from evaluate.results.result_files import StoredResult, read_result
from evaluate.tagger.nltk_tagger import tagger_of

NEAR = 1e-9


@dataclass(frozen=True)
class Reading:
    """One caption as the page sees it.

    Attributes:
        caption: the record, with the number that the truth states for its image.
        mentions: objects that it names, every one; places: where they stand.
        score: CHAIR of it; None without ground truth.
    """

    caption: Caption
    mentions: tuple[Mention, ...]
    places: tuple[Place, ...]
    score: CaptionScore | None

    def is_hallucinated(self, mention: Mention) -> bool:
        """Whether a mention's object is not in the picture, as far as that is known."""
        return self.score is not None and mention.node not in self.score.gold

    @property
    def invented(self) -> int:
        """Hallucinated mentions that count."""
        return len(self.score.hallucinated) if self.score else 0

    @property
    def words(self) -> int:
        """Words between white space."""
        return len(self.caption.caption.split())

    @property
    def nodes(self) -> frozenset[str]:
        """Objects that it names."""
        return frozenset(mention.node for mention in self.mentions)

    @property
    def repeated(self) -> int:
        """Mentions of an object that it has named before."""
        return len(self.mentions) - len(self.nodes)


@dataclass(frozen=True)
class Side:
    """A caption file, judged.

    Attributes:
        source: where it is from.
        readings: by key, in the order of the file.
        result: as `eval_auto.py` writes it; None without ground truth.
        manifest: of the stored result, as far as there is one.
    """

    source: Judged
    readings: Mapping[str, Reading]
    result: Result | None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> StoredResult | None:
        """The result as `compare.py` reads it: the file, or what was found just now."""
        if self.source.result is not None:
            return read_result(self.source.result)
        return None if self.result is None else _stored(self.result, display(self.source.captions), self.protocol)

    @property
    def protocol(self) -> dict[str, Any]:
        """Prompt and decoding of the captions, as far as the manifest beside them knows them."""
        settings = captioning_settings(self.source.captions)
        return {"captioning": settings} if settings else {}


@dataclass(frozen=True)
class Evidence:
    """Captions before and after, over the same images.

    Attributes:
        before: the only ones, where there is no `after`.
        differences, events: of `compare.py`; empty and None without truth or without an `after`.
    """

    before: Side
    after: Side | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    events: McNemar | None = None

    @property
    def has_truth(self) -> bool:
        """Whether anything is known of what is in the pictures."""
        return self.before.result is not None

    @property
    def pairs(self) -> list[tuple[Reading, Reading | None]]:
        """Both captions of each image, in the order of the first file."""
        after = self.after.readings if self.after else {}
        return [(reading, after.get(key)) for key, reading in self.before.readings.items()]


class OnceParser(ChairParser):
    """Parses a text once, however often it is asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kept: dict[str, ParsedText] = {}

    def parse(self, text: str) -> ParsedText:
        """The objects named in a text and its length in tokens."""
        if text not in self._kept:
            self._kept[text] = super().parse(text)
        return self._kept[text]


def gather(judged: Sequence[Judged], seed: int) -> Evidence:
    """Judge one or two caption files. Raises DataError for files of different images, modes or versions."""
    truths: dict[tuple[Any, ...], Truth] = {}
    sides = [_side(one, truths, seed) for one in judged]
    if len(sides) == 1:
        return Evidence(sides[0])
    first, second = sides
    one, two = first.stored, second.stored
    if (one is None) != (two is None):
        raise DataError(
            f"{display(judged[0].captions)} and {display(judged[1].captions)}: one is judged against ground truth and "
            "the other is not; give two results, or two caption files with --annotation_path"
        )
    if one is None or two is None:
        require_comparable(_unjudged(first), _unjudged(second))
        return Evidence(first, second)
    require_comparable(one, two)
    found, events = compare(one, two, seed)
    return Evidence(first, second, found, events)


def _unjudged(side: Side) -> StoredResult:
    """Captions without truth as `compare.py` looks at results: over which items, made how."""
    ids = tuple(side.readings)
    units = Units(ids, (), np.zeros((len(ids), 0)))
    return StoredResult(display(side.source.captions), "captions", "", "", side.protocol, units)


def _side(judged: Judged, truths: dict[tuple[Any, ...], Truth], seed: int) -> Side:
    captions = read_evaluated(judged.captions)
    about = judged.arguments
    if about is None:
        parser = OnceParser("standard")
        return Side(judged, {c.key: _reading(c, parser, None) for c in captions}, None)
    parser = OnceParser(about.chair_mode, about.synonyms_path, tagger_of(about.pos_tagger))
    truth = _truth(about, parser, captions, truths)
    captions = by_stated_names(captions, truth.known)
    missing_images([c.image_id for c in captions], truth.objects, about.allow_missing, truth.source)
    kept = [c for c in captions if c.image_id in truth.objects]
    half = truth.half({c.image_id for c in kept}, about.allow_partial_truth)
    seed = about.seed if judged.result else seed
    result = score_captions(kept, truth.objects, parser, truth.references, seed)
    result = with_half_truth(named_tagger(result, about.pos_tagger), half)
    manifest: Mapping[str, Any] = {}
    if judged.result is not None:
        kept_result = read_record(judged.result, dict[str, Any])
        _require_equal(kept_result, result, judged)
        manifest = kept_result["manifest"]
        more = {k: v for k, v in kept_result["scores"].items() if k not in result.scores and isinstance(v, float)}
        result = replace(result, scores={**result.scores, **more})
    return Side(judged, {c.key: _reading(c, parser, truth.objects[c.image_id]) for c in kept}, result, manifest)


def _truth(
    about: AutoArguments, parser: ChairParser, captions: Sequence[Caption], truths: dict[tuple[Any, ...], Truth]
) -> Truth:
    """The ground truth, read once where both sides have the same; over the images of this side."""
    key = (
        about.annotation_path,
        about.gold_objects_path,
        about.chair_mode,
        about.synonyms_path,
        about.pos_tagger,
        frozenset((c.image, c.image_id) for c in captions),
    )
    if key not in truths:
        truths[key] = ground_truth(about, parser, captions)
    return truths[key]


def _require_equal(stored: Mapping[str, Any], found: Result, judged: Judged) -> None:
    """Raise DataError unless a stored result is that of its captions and truth as they are now."""
    where, captions = display(judged.result or ""), display(judged.captions)
    if stored.get("version") != found.version:
        raise DataError(
            f"{where} and this program have different versions: '{stored.get('version')}' and '{found.version}'; "
            "write it anew with eval_auto.py"
        )
    scores = stored.get("scores")
    for name, value in found.scores.items():
        said = scores.get(name) if isinstance(scores, dict) else None
        if not isinstance(said, int | float) or abs(said - value) > NEAR:
            raise DataError(
                f"{where} says {name} {said}, and {captions} with its truth gives {value:.6g}: one of them was changed "
                "since; write the result anew with eval_auto.py"
            )


def _reading(caption: Caption, parser: ChairParser, gold: frozenset[str] | None) -> Reading:
    mentions = tuple(parser.objects(caption.caption))
    score = None if gold is None else score_caption(parser, caption.caption, gold)
    return Reading(caption, mentions, tuple(mention_places(caption.caption, mentions)), score)


def _stored(result: Result, path: str, protocol: Mapping[str, Any]) -> StoredResult:
    units = dict(result.units or {})
    counts = np.array(units["counts"], dtype=np.float64)
    return StoredResult(
        path,
        result.task,
        result.definition,
        result.version,
        protocol,
        Units(tuple(units["ids"]), tuple(units["columns"]), counts),
    )
