"""The three CLIP score thresholds that cut mined objects into sets, and how they are chosen.

Published values (100 * cosine of ViT-B/32): hallucinated below 23, grounded above 32, sentence mean above 27.5.
Another scorer has another scale, so `auto` places them by the score distribution (see `insight/README.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.files.storage import read_json
from common.manifest import manifest_path
from common.paths import display

AUTO = "auto"
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
    """Thresholds for a file of scores or samples: each a number, or `auto` as noted when the file was made.

    What is not given is `auto` in the mini world, elsewhere the published number. For `auto` the manifest beside
    `data` must hold `"thresholds": {"hallucinated", "grounded", "sentence"}`; `insight/clip.py` and
    `finetune/format_data.py` write it.

    Raises:
        ArgumentError: neither a number nor `auto`, or in the wrong order.
        DataError: `auto`, and no thresholds beside the file.
    """
    found = asked_for(args, mini)
    return Thresholds(
        **{name: _noted(Path(data), name, FLAGS[name]) if value is None else value for name, value in found.items()}
    )


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


def _noted(data: Path, name: str, flag: str) -> float:
    """A threshold from the manifest beside a file."""
    path = manifest_path(data)
    if not path.is_file():
        raise DataError(
            f"{flag} {AUTO} needs {display(path)}, which is not there; make {display(data)} again, or give numbers"
        )
    found: Any = read_json(path)
    noted = found.get("thresholds") if isinstance(found, dict) else None
    value = noted.get(name) if isinstance(noted, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{display(path)} notes no threshold '{name}' for {flag} {AUTO}; give numbers")
    return float(value)
