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
from common.files.record_files import caption_key
from common.files.storage import ResumableLines
from common.manifest import manifest, model_hash, write_manifest
from common.mini_world import is_mini_model
from common.paths import MINI_LLAVA, display
from common.progress import announce, say
from common.resume_guard import begin_or_continue


@dataclass
class CaptionRun:
    """One captions file in the making.

    Args:
        model_args, run_args: of the script.
        plan: prompt and decoding.
        folder: of the images; `flag` is the one that it came from.
        target: the captions file.
    """

    model_args: ModelArguments
    run_args: RunArguments
    plan: CaptionPlan
    folder: Path
    target: Path
    flag: str
    images: ImageFolder = field(init=False)

    def __post_init__(self) -> None:
        self.images = ImageFolder(self.folder, self.flag, turn=not self.model_args.ignore_exif_orientation)

    def names(self) -> list[str]:
        """Names of all images in the folder, sorted."""
        return self.images.names()

    def run(self, names: Sequence[str], groups: Sequence[Any], **more: Any) -> CaptionCounts | None:
        """Caption the images `names`, write the manifest and say what was written; None for a dry run.

        Args:
            groups: further argument groups for the manifest.
            more: further entries of the manifest.

        Raises ArgumentError if the file was begun with other settings, DataError if nothing is to be captioned.
        """
        if not names:
            raise DataError(f"no image in {display(self.folder)} (from {self.flag}) is left to caption")
        announce(
            f"captioning {len(names)} images of {display(self.folder)}, {self.plan.per_image} each, "
            f"in batches of {self.plan.batch_size}, into {display(self.target)}"
        )
        if self.run_args.dry_run:
            return None
        self._generate(names)
        with ResumableLines(self.target, caption_key) as out:
            counts = count_captions(out)
        write_manifest(self.target, self._manifest(counts, groups, more))
        say(counts.line(self.target))
        return counts

    def _generate(self, names: Sequence[str]) -> None:
        from common.models import load_from_args

        model = load_from_args(self.model_args)
        self.images.reduced = model.reduced
        begin_or_continue(self.target, self._settings(names, str(model.compute_dtype)), self.run_args.restart)
        with ResumableLines(self.target, caption_key, self.run_args.restart) as out:
            span = (self.run_args.start_pos, self.run_args.end_pos)
            caption_images(model, self.images, names, self.plan, out, span)

    def _settings(self, names: Sequence[str], dtype: str) -> dict[str, Any]:
        """Whatever changes the captions."""
        return {
            "prompt": self.plan.prompt,
            "decoding": dict(self.plan.decoding),
            "infer_bs": self.plan.batch_size,
            "captions_per_image": self.plan.per_image,
            "seed": self.plan.seed if self.plan.sampled else None,
            "model": self.model_args.model,
            "model_hash": model_hash(self._model_path()),
            "checkpoint_hash": self._checkpoint_hash(),
            "dtype": dtype,
            "ignore_exif_orientation": self.model_args.ignore_exif_orientation,
            "images": len(names),
            "first_image": names[0],
            "last_image": names[-1],
        }

    def _model_path(self) -> str | Path | None:
        return MINI_LLAVA if is_mini_model(self.model_args) else self.model_args.chosen("path")

    def _checkpoint_hash(self) -> str | None:
        checkpoint = self.model_args.chosen("ckpt_load_path")
        return model_hash(checkpoint) if checkpoint and Path(checkpoint).exists() else None

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
