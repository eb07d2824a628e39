"""Arguments of `insight/clip.py`, and the plan that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.args import ImageArguments, flag
from common.errors import ArgumentError, DataError
from common.files.storage import require_file
from common.files.vocabulary import SYNONYMS
from common.mini_world import MiniWorld, Source, source_of
from common.paths import MINI_CLIP
from common.progress import announce
from common.relevance.clip_scorer import default_weights
from common.relevance.scoring import MODES, ScoreSettings
from common.relevance.windows import BEST, PATCH, SPAN


@dataclass
class ClipArguments(ImageArguments):
    """Relevance scoring. Without --object_data_path everything not given is the mini world's."""

    object_data_path: str | None = flag(None, "objects of captions, from insight/object.py")
    caption_data_path: str | None = flag(None, "captions, for objects in the published text form only")
    image_dir_path: str | None = flag(None, "folder of the images")
    score_data_path: str | None = flag(None, "where the scored objects go; default: scores.jsonl beside the objects")
    annotation_path: str | None = flag(None, "folder of COCO annotations, to judge the scores")
    gold_objects_path: str | None = flag(None, "JSON, image id -> object names, to judge the scores instead")
    allow_partial_truth: bool = flag(
        False, "judge by images of which only instances, or only human captions, are known; the report says so"
    )
    synonyms_path: str = flag(str(SYNONYMS), "synonym list that maps objects to COCO categories")
    figure_path: str | None = flag(None, "density figure (PNG); default: density.png beside the scores")
    clip_model: str | None = flag(
        None, "open_clip name or folder; default ViT-B-32, for the mini world the bundled one"
    )
    clip_pretrained: str | None = flag(None, "weights of a named model: tag or file; default for ViT-B-32: openai")
    clip_mode: str = flag("windows", "score sliding windows, or the whole image", MODES)
    clip_prompt: str = flag("A photo containing {object}.", "text of an object")
    clip_patch: int = flag(PATCH, "pixels of a patch")
    clip_span: int = flag(SPAN, "patches along a window's side")
    clip_best: int = flag(BEST, "best patches whose mean is the score")
    clip_bs: int = flag(16, "images in one batch")
    clip_dtype: str = flag(
        "auto",
        "of the model; auto: bfloat16 on a GPU, float32 on the CPU",
        ("auto", "float32", "bfloat16", "float16"),
    )
    device: str = flag("auto", "cpu, cuda, cuda:1 ...; auto takes a GPU where there is one")

    def settings(self) -> ScoreSettings:
        """How scores are computed. Raises ArgumentError for numbers below one or a prompt without {object}."""
        if "{object}" not in self.clip_prompt:
            raise ArgumentError(f"--clip_prompt '{self.clip_prompt}' has no {{object}} to put the object in")
        for name in ("clip_patch", "clip_span", "clip_best", "clip_bs"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"--{name} is {getattr(self, name)}; give a number from 1")
        return ScoreSettings(self.clip_prompt, self.clip_mode, self.clip_patch, self.clip_span, self.clip_best)

    def device_and_dtype(self) -> tuple[str, str]:
        """With `auto` resolved. Raises ArgumentError for a GPU that is not there."""
        from common.models.resolve import resolve_device

        device = resolve_device(self.device)
        auto = "bfloat16" if device.type == "cuda" else "float32"
        return str(device), auto if self.clip_dtype == "auto" else self.clip_dtype


@dataclass(frozen=True)
class ClipPlan:
    """Every choice resolved: the files, and the model."""

    mini: bool
    sources: tuple[Source, Source]
    scores: Path
    figure: Path
    annotations: Path | None
    model: str
    pretrained: str | None

    @property
    def objects(self) -> Path:
        """File of the objects."""
        return self.sources[0].path

    @property
    def images(self) -> Path:
        """Folder of the images."""
        return self.sources[1].path

    def make(self, dry_run: bool) -> None:
        """Run the earlier steps of the mini world whose files are missing. Raises DataError, DryRunEnds."""
        for source in self.sources:
            source.made(dry_run)


def plan(args: ClipArguments) -> ClipPlan:
    """Resolve what was not given; nothing is made yet.

    Raises DataError: no --image_dir_path with objects of one's own, or a file that is not there.
    """
    mini, world = args.object_data_path is None, MiniWorld()
    if mini:
        announce("no --object_data_path: using the built-in mini world")
    source = source_of(args.object_data_path, mini, world.objects, "--object_data_path")
    objects = source.path if mini else require_file(source.path, "--object_data_path")
    if not mini and args.image_dir_path is None:
        raise DataError("--image_dir_path is needed with objects of your own: the folder of their images")
    scores = Path(args.score_data_path or (world.scores if mini else objects.with_name("scores.jsonl")))
    if scores.resolve() == objects.resolve():
        raise ArgumentError(f"--score_data_path {scores} is the objects file itself; choose another name")
    labels = args.annotation_path or (world.train_annotations if mini and args.gold_objects_path is None else None)
    model = args.clip_model or (str(MINI_CLIP) if mini else "ViT-B-32")
    return ClipPlan(
        mini=mini,
        sources=(source, source_of(args.image_dir_path, mini, world.train_images, "--image_dir_path")),
        scores=scores,
        figure=Path(args.figure_path or scores.with_name("density.png")),
        annotations=Path(labels) if labels else None,
        model=model,
        pretrained=args.clip_pretrained or default_weights(model),
    )
