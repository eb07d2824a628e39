"""A captioning script from images to file: what `insight/caption.py` and `evaluate/eval_caption.py` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.args import ModelArguments, RunArguments
from common.captioning.captioner import CaptionCounts, CaptionPlan, caption_images, count_captions
from common.errors import DataError
from common.files.images import ImageFolder
from common.files.record_files import caption_from_json, caption_key
from common.identity import identity, images_identity, model_identity
from common.manifest import manifest
from common.mini_world import is_mini_model
from common.outputs.lines import LineOutput, LineTarget
from common.outputs.targets import check_targets
from common.paths import MINI_LLAVA, display
from common.progress import announce, say


def caption_target(path: Path, flag: str, step: str) -> LineTarget:
    """The captions file that `step` makes; `flag`, without dashes, is where its name comes from."""
    return LineTarget(path, flag, step, caption_from_json, caption_key)


def checked_target(path: Path, flag: str, step: str, groups: Sequence[Any], images: Path) -> LineTarget:
    """As :func:`caption_target`, if it may be written; before images of the mini world are drawn for it.

    Args:
        groups: argument dataclasses whose paths are inputs.
        images: folder of the images.

    Raises ArgumentError, DataError.
    """
    check_targets({flag: path}, groups, image_dir_path=images)
    target = caption_target(path, flag, step)
    target.check()
    return target


@dataclass
class CaptionRun:
    """One captions file in the making.

    Args:
        model_args, run_args: of the script.
        plan: prompt and decoding.
        folder: of the images; `flag` is the one that it came from.
        target: the captions file, from :func:`checked_target`.
    """

    model_args: ModelArguments
    run_args: RunArguments
    plan: CaptionPlan
    folder: Path
    target: LineTarget
    flag: str
    images: ImageFolder = field(init=False)

    def __post_init__(self) -> None:
        self.images = ImageFolder(self.folder, self.flag, turn=not self.model_args.ignore_exif_orientation)

    def names(self) -> list[str]:
        """Names of all images in the folder, sorted."""
        return self.images.names()

    def run(self, names: Sequence[str], groups: Sequence[Any], **more: Any) -> CaptionCounts | None:
        """Caption the images `names`, write the manifest and say what was written.

        None for a dry run, and in all processes of a launch but the first.

        Args:
            groups: further argument groups for the manifest.
            more: further entries of the manifest.

        Raises ArgumentError if the file was begun with other settings, DataError if nothing is to be captioned.
        """
        if not names:
            raise DataError(f"no image in {display(self.folder)} (from {self.flag}) is left to caption")
        announce(
            f"captioning {len(names)} images of {display(self.folder)}, {self.plan.per_image} each, "
            f"{self.plan.batch_size or 'as many'} at a time{'' if self.plan.batch_size else ' as fit'}, "
            f"into {display(self.target.path)}"
        )
        if self.run_args.dry_run:
            return None
        with self.target.open(self._settings(names), self.run_args.restart) as out:
            self._generate(names, out)
            if not out.gather(self.images.lost):
                return None
            self.images.check_losses(len(names))
            counts = count_captions(out)
            out.finish(self._manifest(counts, groups, more))
        say(counts.line(self.target.path))
        return counts

    def _generate(self, names: Sequence[str], out: LineOutput) -> None:
        from common.models import load_from_args

        model = load_from_args(self.model_args)
        self.images.reduced = model.reduced
        caption_images(model, self.images, names, self.plan, out, (self.run_args.start_pos, self.run_args.end_pos))

    def _settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Whatever changes the captions."""
        from common.models.resolve import resolve_device, resolve_dtype

        dtype = resolve_dtype(self.model_args.dtype, resolve_device(self.model_args.device))
        options = {
            "prompt": self.plan.prompt,
            "decoding": dict(self.plan.decoding),
            "captions_per_image": self.plan.per_image,
            "seed": self.plan.seed if self.plan.sampled else None,
        }
        return identity(options, model_identity(self.model_args, str(dtype)), images_identity(self.folder, names))

    def _model_path(self) -> str | Path | None:
        return MINI_LLAVA if is_mini_model(self.model_args) else self.model_args.chosen("path")

    def _manifest(self, counts: CaptionCounts, groups: Sequence[Any], more: dict[str, Any]) -> dict[str, Any]:
        checkpoint = self.model_args.chosen("ckpt_load_path")
        return manifest(
            (self.model_args, *groups, self.run_args),
            model=self._model_path(),
            checkpoint=checkpoint or None,
            image_ids=counts.image_ids,
            lost_images=self.images.lost,
            prompt=self.plan.prompt,
            decoding={**self.plan.decoding, "batch_size": self.plan.batch_size},
            counts={"captions": counts.captions, "blank": counts.blank, "lost_images": len(self.images.lost)},
            **more,
        )
