"""Where the published README puts its data: what a flag that was not given means, if it is there.

    dataset/pos_neg.json, dataset/sentences.json, dataset/images, dataset/annotations, dataset/llava, dataset/mme
    LLaVA/playground/data/eval/{gqa,scienceqa,qbench}

Of several places for one flag the first that exists is taken. Nothing is ever taken without a line that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from common.files.images import image_names
from common.paths import DATASET, ROOT, display
from common.progress import announce

Places = Mapping[str, Sequence[Path]]  # flag without dashes -> where it may lie

_EVAL = ROOT / "LLaVA" / "playground" / "data" / "eval"
_GQA = (_EVAL / "gqa" / "data", _EVAL / "gqa")
_SQA = (_EVAL / "scienceqa", _EVAL / "sqa")
_GQA_QUESTIONS = ("questions1.2/testdev_balanced_questions.json", "testdev_balanced_questions.json")

PUBLISHED: Places = {
    "pos_neg_data_path": (DATASET / "pos_neg.json",),
    "sentence_data_path": (DATASET / "sentences.json",),
    "image_dir_path": (DATASET / "images",),
    "annotation_path": (DATASET / "annotations",),
    "gold_data_path": (DATASET / "llava" / "llava_v1_5_mix665k.json",),
    "gold_image_dir_path": (DATASET / "llava",),
    "object_data_path": (DATASET / "objects.txt",),
}
BENCHMARKS: Mapping[str, Places] = {
    "mme": {"question_path": (DATASET / "mme",), "image_dir_path": (DATASET / "mme",)},
    "gqa": {
        "question_path": tuple(folder / name for folder in _GQA for name in _GQA_QUESTIONS),
        "image_dir_path": tuple(folder / "images" for folder in _GQA),
    },
    "sqa": {
        "question_path": tuple(folder / "llava_test_CQM-A.json" for folder in _SQA),
        "image_dir_path": tuple(
            folder / name for folder in _SQA for name in ("ScienceQA_DATA/test", "images/test", "test")
        ),
    },
    "qbench": {
        "question_path": (_EVAL / "qbench" / "llvisionqa_dev.json",),
        "image_dir_path": (_EVAL / "qbench" / "images",),
    },
}


def placed(flag: str, places: Places = PUBLISHED) -> Path | None:
    """The place of a flag that was not given, said in one line; None if nothing lies there."""
    found = next((path for path in places.get(flag, ()) if path.exists()), None)
    if found is not None:
        announce(f"no --{flag}: using {display(found)}")
    return found


def inputs(given: Mapping[str, str | None], places: Places = PUBLISHED) -> dict[str, Path]:
    """The path of every flag: as given, or in its published place.

    Raises DataError that lists everything that is missing, each with its place; KeyError for a flag without one.
    """
    found: dict[str, Path] = {}
    missing = []
    for flag, path in given.items():
        place = placed(flag, places) if path is None else Path(path)
        if place is not None and place.exists():
            found[flag] = image_folder(place) if flag == "image_dir_path" else place
        elif place is not None:
            missing.append(f"--{flag} {display(place)} is not there")
        else:
            missing.append(f"--{flag} is needed, as there is no {display(places[flag][0])}")
    if missing:
        raise DataError(f"{'; '.join(missing)} (see dataset/prepare.py for where data belong)")
    return found


def image_folder(folder: Path) -> Path:
    """The folder, or its `train2014` where COCO was unpacked into it and it holds no image itself."""
    below = folder / "train2014"
    return below if below.is_dir() and not _has_images(folder) and _has_images(below) else folder


def _has_images(folder: Path) -> bool:
    return bool(image_names(folder))
