"""Flags of `evaluate/report.py`; results, captions and run folders are the bare words of its command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.args import ThresholdArguments, flag, seed_flag
from common.arguments.fields import Option, options
from evaluate.chair.synonyms import MODES
from evaluate.tagger.nltk_tagger import POS_TAGGERS, PosTagger

CAPTIONS_SHOWN, MINED_SHOWN = 300, 60


@dataclass
class ReportArguments:
    """What to show. Of results and run folders their manifests say the rest; of captions alone these flags do."""

    results: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "run folder, results, or caption files; also the bare words of the command line"
    )
    report_path: str | None = flag(None, "where the page goes; for a run folder its report.html")
    figures: str | None = flag(None, "folder for the figures as files, svg and png")
    image_dir_path: str | None = flag(None, "folder of the captioned images; default: as their captions' manifest says")
    annotation_path: str | None = flag(None, "folder of COCO instances and captions, for captions without a result")
    gold_objects_path: str | None = flag(None, "JSON file 'image id': [object names] in place of annotations")
    chair_mode: str = flag("standard", "standard: the field's CHAIR; paper: EFUF's variant", MODES)
    pos_tagger: PosTagger = flag(  # noqa: RUF009 (flag makes a field)
        "bundled", "word classes in standard mode; nltk: by NLTK's own data, if installed", POS_TAGGERS
    )
    synonyms_path: str | None = flag(None, "synonym list in place of the mode's own")
    allow_partial_truth: bool = flag(False, "judge images of which only half of the truth is known")
    allow_missing: bool = flag(False, "leave out captions of images without ground truth instead of refusing")
    score_data_paths: list[str] = flag(  # noqa: RUF009 (flag makes a field)
        [], "scored objects (insight/clip.py), of these captions or of the mined ones"
    )
    pos_neg_data_path: str | None = flag(None, "spans of the training, to show what was raised and lowered")
    trained_path: str | None = flag(None, "folder of a training run, for its curves")
    captions_shown: int = flag(CAPTIONS_SHOWN, "captions in the gallery; of more a seeded sample", least=1)
    mined_shown: int = flag(MINED_SHOWN, "mined captions in the gallery of the training; 0: none", least=0)
    seed: int = seed_flag("seed of the bootstrap and of samples")


ARGUMENTS = (ReportArguments, ThresholdArguments)


def named(argv: Sequence[str]) -> list[str]:
    """The command line with its bare words, those that follow no flag, as the values of `--results`."""
    known = options(ARGUMENTS)
    bare: list[str] = []
    rest: list[str] = []
    room: float = 0  # how many words the last flag still takes
    for word in argv:
        if word.startswith("-") and len(word) > 1:
            rest.append(word)
            room = 0 if "=" in word else _values(known.get(word.lstrip("-").replace("-", "_")))
        elif room:
            rest.append(word)
            room -= 1
        else:
            bare.append(word)
    return [*rest, *(["--results", *bare] if bare else [])]


def _values(option: Option | None) -> float:
    """How many words a flag takes."""
    if option is None:
        return 1
    return math.inf if option.many else 0 if option.kind is bool else 1
