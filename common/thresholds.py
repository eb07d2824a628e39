"""The three CLIP score thresholds that cut mined objects into sets, and how they are chosen.

Published values (100 * cosine of ViT-B/32): hallucinated below 23, grounded above 32, sentence mean above 27.5.
Another scorer has another scale, so `auto` places them by the score distribution (see `insight/README.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import ArgumentError


@dataclass(frozen=True)
class Thresholds:
    """Objects scored below `hallucinated` are negatives, above `grounded` positives; captions whose mean is above
    `sentence` (and minimum above `hallucinated`) are sentence samples.

    Raises ArgumentError if they are not in the order hallucinated <= sentence <= grounded.
    """

    hallucinated: float = 23.0
    grounded: float = 32.0
    sentence: float = 27.5

    def __post_init__(self) -> None:
        if not self.hallucinated <= self.sentence <= self.grounded or self.hallucinated == self.grounded:
            raise ArgumentError(
                f"thresholds in the wrong order: --hal_clip_thres {self.hallucinated:g}, --sentence_clip_thres "
                f"{self.sentence:g}, --norm_clip_thres {self.grounded:g}; the first must be lowest, the last highest"
            )

    def is_hallucinated(self, score: float) -> bool:
        """Whether an object with this score goes into the negative set."""
        return score < self.hallucinated

    def is_grounded(self, score: float) -> bool:
        """Whether an object with this score goes into the positive set."""
        return score > self.grounded

    def is_good_sentence(self, mean: float, least: float) -> bool:
        """Whether a caption with these object scores goes into the sentence set."""
        return mean > self.sentence and least > self.hallucinated
