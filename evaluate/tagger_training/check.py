"""How far a trained tagger and its teacher agree on captions that it was not trained on: word lists and CHAIR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.files.records import Caption
from evaluate.chair.counting import FORMULAS, CaptionScore, caption_units, score_caption
from evaluate.chair.parser import ChairParser
from evaluate.metrics.stats import point_scores

HEADER = "| captions | number | identical word lists | CHAIR_S off by | CHAIR_I off by |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Agreement:
    """Two taggers on one set of captions.

    Attributes:
        name: of the captions.
        captions: how many there are.
        same: how many name the same words in the same order with both.
        chair_s, chair_i: difference in points over the captions with ground truth; None where there is none.
    """

    name: str
    captions: int
    same: int
    chair_s: float | None
    chair_i: float | None

    def line(self) -> str:
        """A row of the table under HEADER."""
        off = ["-" if value is None else f"{value:.2f}" for value in (self.chair_s, self.chair_i)]
        share = f"{self.same} ({100 * self.same / self.captions:.2f} %)"
        return f"| {self.name} | {self.captions} | {share} | {off[0]} | {off[1]} |"


def _rates(scores: Sequence[CaptionScore]) -> tuple[float, float]:
    """CHAIR_S and CHAIR_I in percent."""
    points = point_scores(caption_units([""] * len(scores), scores), FORMULAS)
    return 100 * points["chair_s"], 100 * points["chair_i"]


def agreement(
    name: str,
    captions: Sequence[Caption],
    student: ChairParser,
    teacher: ChairParser,
    gold: Mapping[int, frozenset[str]],
) -> Agreement:
    """Both parsers on the captions; CHAIR over those whose image has ground truth."""
    same, ours, theirs = 0, [], []
    for caption in captions:
        pair = [score_caption(p, caption.caption, gold.get(caption.image_id, ())) for p in (student, teacher)]
        same += [m.word for m in pair[0].mentions] == [m.word for m in pair[1].mentions]
        if caption.image_id in gold:
            ours.append(pair[0])
            theirs.append(pair[1])
    if not ours:
        return Agreement(name, len(captions), same, None, None)
    off = [abs(a - b) for a, b in zip(_rates(ours), _rates(theirs), strict=True)]
    return Agreement(name, len(captions), same, off[0], off[1])
