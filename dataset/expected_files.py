"""Where the data of others must lie below `dataset/`, and where it comes from. Facts only; checked by `prepare.py`."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("coco", "llava", "published")

_COCO_IMAGES = "http://images.cocodataset.org/zips"
_COCO_ANNOTATIONS = "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"
_LLAVA = "https://github.com/haotian-liu/LLaVA#visual-instruction-tuning"
_PUBLISHED = "https://github.com/starreeze/efuf"


@dataclass(frozen=True)
class Expected:
    """A file, or a folder of images, that a kind of data consists of.

    Attributes:
        path: below the root.
        purpose: what it is needed for.
        source: where to get it.
        images: at least so many images must lie in the folder, or in its train2014; 0 for a file.
        optional: its absence is told but is no failure.
    """

    path: str
    purpose: str
    source: str
    images: int = 0
    optional: bool = False


_TRAIN_IMAGES = Expected(
    "images",
    "images to mine and to evaluate on (COCO's train2014, here or in images/train2014)",
    f"{_COCO_IMAGES}/train2014.zip",
    82_783,
)

LAYOUTS: dict[str, tuple[Expected, ...]] = {
    "coco": (
        _TRAIN_IMAGES,
        Expected("images/val2014", "images of the usual CHAIR and POPE", f"{_COCO_IMAGES}/val2014.zip", 40_504, True),
        Expected("annotations/instances_train2014.json", "objects in the images", _COCO_ANNOTATIONS),
        Expected("annotations/instances_val2014.json", "objects in the images", _COCO_ANNOTATIONS),
        Expected("annotations/captions_train2014.json", "human captions", _COCO_ANNOTATIONS),
        Expected("annotations/captions_val2014.json", "human captions", _COCO_ANNOTATIONS),
    ),
    "llava": (
        Expected("llava/llava_v1_5_mix665k.json", "instruction data (gold loss)", _LLAVA),
        Expected("llava/coco/train2017", "its COCO images", f"{_COCO_IMAGES}/train2017.zip", 118_287),
        Expected("llava/gqa/images", "its GQA images", _LLAVA, 1),
        Expected("llava/ocr_vqa/images", "its OCR-VQA images", _LLAVA, 1),
        Expected("llava/textvqa/train_images", "its TextVQA images", _LLAVA, 1),
        Expected("llava/vg/VG_100K", "its Visual Genome images, part 1", _LLAVA, 1),
        Expected("llava/vg/VG_100K_2", "its Visual Genome images, part 2", _LLAVA, 1),
    ),
    "published": (
        Expected("pos_neg.json", "published spans", _PUBLISHED),
        Expected("sentences.json", "published whole captions", _PUBLISHED),
        Expected("objects.txt", "names the images that are kept out of evaluation", _PUBLISHED, optional=True),
        _TRAIN_IMAGES,
    ),
}
