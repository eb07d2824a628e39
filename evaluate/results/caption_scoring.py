"""Captions to one result: CHAIR with recall and length, BLEU where there are references, distinct n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.files.gold import Gold
from common.files.records import Caption, Result
from evaluate.chair import counting as chair
from evaluate.chair.parser import PARSER_VERSION, ChairParser
from evaluate.metrics import text
from evaluate.results.scoring import scored, units_json

VERSION = f"chair-{PARSER_VERSION}"
DEFINITIONS = {
    "standard": "CHAIR of LisaAnne/Hallucination as in OPERA's port: every mention counts",
    "paper": "CHAIR of EFUF: each distinct word of a caption counts once; not comparable with standard",
}
COUNTS = ("captions", "mentions", "hallucinated", "captions_with_hallucination")


def score_captions(
    captions: Sequence[Caption],
    gold: Gold,
    parser: ChairParser,
    references: Mapping[int, Sequence[str]],
    seed: int = 0,
    manifest: Mapping[str, Any] | None = None,
) -> Result:
    """All automatic scores of captions whose images are all in `gold`.

    Args:
        references: image id -> human captions; BLEU is over the captions that have some, and left out if none has.
        seed: of the bootstrap.
    """
    per_caption = [chair.score_caption(parser, c.caption, gold[c.image_id]) for c in captions]
    ids = [c.key for c in captions]
    texts, known = [c.caption for c in captions], [references.get(c.image_id, ()) for c in captions]
    units, formulas = chair.caption_units(ids, per_caption), dict(chair.FORMULAS)
    if any(known):
        units = units.beside(text.bleu_units(ids, texts, known))
        formulas |= text.BLEU
    scores, bounds = scored(units, formulas, seed)
    scores |= {f"distinct_{n}": text.distinct(texts, n) for n in (1, 2)}
    totals = units.sums()
    return Result(
        task="chair",
        definition=DEFINITIONS[parser.lists.mode],
        version=VERSION,
        n=len(captions),
        scores=scores,
        intervals=bounds,
        counts={name: int(totals[name]) for name in COUNTS} | {"captions_with_references": sum(map(bool, known))},
        manifest=dict(manifest or {}),
        units=units_json(units),
    )
