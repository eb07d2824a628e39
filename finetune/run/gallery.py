"""What the model says of some pictures, before and after training, as images with captions in the trackers.

W&B gets a list of images, TensorBoard an image and a text by the name of each file, at the first step and at the last.
Captions are greedy and made by the first process; training notices nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import TrainerCallback

from common.captioning.asking import Request, ask
from common.errors import plain
from common.files.images import ImageFolder
from common.processes import is_first
from common.prompts import TRAIN

if TYPE_CHECKING:
    from common.models.base import CaptionModel

ROWS = 8
SIDE = 448  # pixels of the longer side of a picture, at most
DECODING = {"num_beams": 1, "max_new_tokens": 200}


@dataclass(frozen=True)
class Row:
    """A picture with what is said of it.

    Attributes:
        name: of its file.
        said: (when, caption), the newest first.
    """

    name: str
    picture: Image.Image
    said: tuple[tuple[str, str], ...]

    def caption(self) -> str:
        """All of it as lines."""
        return "\n".join([self.name, *(f"{when}: {text}" for when, text in self.said)])


Show = Callable[[Sequence[Row], int], None]


@dataclass(eq=False)
class Gallery(TrainerCallback):
    """Shows the first rows when training begins, or is continued, and when it has ended.

    Args:
        images: as the model sees them; whole: as they are shown.
        names: of the images.
        shows: of each tracker.
    """

    model: CaptionModel
    images: ImageFolder
    whole: ImageFolder
    names: Sequence[str]
    shows: Sequence[Show]
    before: dict[str, tuple[str, str]] = field(default_factory=dict)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The model as it was, or as it had become when the run was interrupted."""
        self.show(state.global_step, "before" if state.global_step == 0 else f"after {state.global_step} steps")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The model as it is now."""
        self.show(state.global_step, "after")

    def show(self, step: int, when: str) -> None:
        """Caption all pictures and give them to the trackers; in the first process alone."""
        if not is_first():
            return
        rows = []
        for name, text in self._captions():
            said = (when, text)
            earlier = self.before.setdefault(name, said)
            picture = self.whole.read(name)
            picture.thumbnail((SIDE, SIDE))
            rows.append(Row(plain(name), picture, (said,) if earlier is said else (said, earlier)))
        for show in self.shows:
            show(rows, step)

    def _captions(self) -> list[tuple[str, str]]:
        """(image, caption) of those that can be read."""
        text = self.model.format_prompt(TRAIN)
        requests = [Request(name, (text,), (name,)) for name in self.names]
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            self.model.eval()
            said = list(ask(self.model, self.images, requests, DECODING, None))
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return [(name, texts[0]) for name, texts in zip(self.names, said, strict=True) if texts]


def gallery_of(
    trackers: Sequence[str], model: CaptionModel, images: ImageFolder, names: Sequence[str]
) -> Gallery | None:
    """The first rows of these images; None where no tracker shows images. Call it when the trackers are prepared."""
    shows = [SHOWS[tracker] for tracker in trackers if tracker in SHOWS]
    whole = ImageFolder(images.path, images.flag, images.turn, admitted=images.admitted)
    seen = replace(images, lost={}, opened=0)  # what is counted of training's own folder stays
    return Gallery(model, seen, whole, sorted(names)[:ROWS], shows) if shows else None


def in_wandb(rows: Sequence[Row], step: int) -> None:
    """A list of images in the run that the library has begun."""
    import wandb

    shown = [wandb.Image(row.picture, caption=row.caption()) for row in rows]
    wandb.log({"gallery": shown, "train/global_step": step})


def in_tensorboard(rows: Sequence[Row], step: int) -> None:
    """Images and texts beside the library's own values; its writer is closed when training ends, so here is another."""
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(os.environ["TENSORBOARD_LOGGING_DIR"]) as writer:
        for row in rows:
            pixels = np.asarray(row.picture)
            writer.add_image(f"gallery/{row.name}", pixels, step, dataformats="HWC")
            text = "\n\n".join(_as_text(line) for line in row.caption().split("\n"))
            writer.add_text(f"gallery/{row.name}", text, step)


def _as_text(line: str) -> str:
    """A line that TensorBoard, which reads Markdown, shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in line)


SHOWS: dict[str, Show] = {"wandb": in_wandb, "tensorboard": in_tensorboard}
