"""The three CLIP score thresholds that cut mined objects into sets, and how they are chosen.

Published values (100 * cosine of ViT-B/32): hallucinated below 23, grounded above 32, sentence mean above 27.5.
Another scorer has another scale, so `auto` places them by the score distribution (see `insight/README.md`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.manifest import manifest_path, noted_beside
from common.paths import display
from common.progress import announce

AUTO = "auto"
PUBLISHED_SCORERS = ("ViT-B-32", "ViT-B-32-quickgelu", "clip-vit-base-patch32")  # names of one model
FLAGS = {"hallucinated": "--hal_clip_thres", "grounded": "--norm_clip_thres", "sentence": "--sentence_clip_thres"}


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


def resolve(args: ThresholdArguments, data: Path | str, mini: bool) -> Thresholds:
    """Thresholds for a file of scores or samples, and a line that says where each is from.

    A flag's number goes first, then what the manifest beside `data` notes (`"thresholds": {"hallucinated", "grounded",
    "sentence"}`; `insight/clip.py` and `finetune/format_data.py` write it), then the published number. `auto` takes
    what is noted, and in the mini world something must be.

    Raises:
        ArgumentError: neither a number nor `auto`, or in the wrong order.
        DataError: `auto`, and no thresholds beside the file.
    """
    data = Path(data)
    there, scorer = noted_for(data)
    values, sources = {}, []
    for name, flag in FLAGS.items():
        text = getattr(args, flag.removeprefix("--"))
        if text not in (None, AUTO):
            values[name], source = threshold_number(text, flag), flag
        elif text == AUTO or mini or name in there:
            values[name], source = _noted(there, data, name, flag), manifest_path(data).name
        else:
            values[name], source = float(getattr(Thresholds(), name)), "published"
        sources.append(f"{name} {values[name]:g} ({source})")
    announce(f"thresholds: {', '.join(sources)}")
    found = Thresholds(**values)
    question(found, scorer, there)
    return found


def question(used: Thresholds, scorer: str | None, noted: Mapping[str, float]) -> None:
    """Say so where the published numbers are used on scores of another scorer than the published one.

    Args:
        scorer: the model that made the scores; None if nothing says it.
        noted: what was placed on these scores.
    """
    if scorer is None or Path(scorer).name in PUBLISHED_SCORERS or used != Thresholds():
        return
    better = ", ".join(f"{FLAGS[name]} {value:g}" for name, value in noted.items() if value != getattr(used, name))
    announce(
        f"the published thresholds are of ViT-B-32, and these scores are of {scorer}, which has another scale; "
        + (f"its own are {better}" if better else "insight/clip.py places its own with --hal_clip_thres auto and so on")
    )


def noted_for(data: Path) -> tuple[dict[str, float], str | None]:
    """The thresholds that the manifest beside a file notes, and the scorer of its scores, as far as they are there.

    Raises DataError for a manifest that is not JSON.
    """
    found = noted_beside(data)
    noted, scorer = found.get("thresholds"), found.get("clip_model")
    numbers = noted if isinstance(noted, dict) else {}
    return (
        {name: float(numbers[name]) for name in FLAGS if _is_number(numbers.get(name))},
        scorer if isinstance(scorer, str) else None,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _noted(there: Mapping[str, float], data: Path, name: str, flag: str) -> float:
    """A threshold from the manifest beside a file. Raises DataError where there is none."""
    path = manifest_path(data)
    if name in there:
        return there[name]
    if not path.is_file():
        raise DataError(
            f"{flag} {AUTO} needs {display(path)}, which is not there; make {display(data)} again, or give numbers"
        )
    raise DataError(f"{display(path)} notes no threshold '{name}' for {flag} {AUTO}; give numbers")


def asked_for(args: ThresholdArguments, mini: bool) -> dict[str, float | None]:
    """Each threshold's number as given, or as published where nothing was given; None for `auto`.

    What is not given is `auto` in the mini world. Raises ArgumentError for neither a number nor `auto`.
    """
    found: dict[str, float | None] = {}
    for name, flag in FLAGS.items():
        text = getattr(args, flag.removeprefix("--"))
        if text is None:
            found[name] = None if mini else float(getattr(Thresholds(), name))
        else:
            found[name] = None if text == AUTO else threshold_number(text, flag)
    return found


def threshold_number(text: str, flag: str) -> float:
    """The number that a flag holds. Raises ArgumentError for anything else, nan and infinity included."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentError(f"{flag} is '{text}'; give a number or {AUTO}")
    return number
