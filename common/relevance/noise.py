"""Noise over scores: what a weaker scorer would say, to see how much depends on a good one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from common.files.records import CaptionObjects


def noisy(records: Iterable[CaptionObjects], deviation: float, seed: int) -> list[CaptionObjects]:
    """Each score plus noise that depends on seed, image and object alone: a thing has one score in its image."""
    out = []
    for record in records:
        mentions = []
        for mention in record.objects:
            draw = random.Random(f"{seed}/{record.image}/{mention.text.lower()}").gauss(0.0, 1.0)
            score = None if mention.score is None else mention.score + deviation * draw
            mentions.append(replace(mention, score=score))
        out.append(replace(record, objects=tuple(mentions)))
    return out
