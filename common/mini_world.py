"""The built-in mini world as everybody's default: where its files lie, and how missing ones are made.

`dataset/mini` draws the images; the steps of the pipeline make the rest. A script that is called without paths asks
here, is told the mini world's, and what is missing is made first by running the earlier steps, announced line by line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.args import ModelArguments
from common.errors import DataError, DryRunEnds
from common.files.contents import file_hash, images_hash
from common.files.images import image_names
from common.files.places import PUBLISHED, image_folder, inputs
from common.files.storage import read_json
from common.manifest import manifest_path, noted_beside
from common.outputs.settings import noted_settings
from common.paths import MINI_DATA, MINI_LLAVA, ROOT, display
from common.processes import first_alone, first_is_done, without_launcher
from common.progress import announce

# How the mini world's captions are made: two samples of an image to mine, one greedy caption to judge.
SAMPLING = (
    "--captions_per_image", "2", "--do_sample", "--generate_num_beams", "1",
    "--max_new_tokens", "130", "--infer_bs", "128",
)  # fmt: skip
SPANS = ("finetune.format_data",)
GREEDY = ("--generate_num_beams", "1", "--max_new_tokens", "150", "--infer_bs", "128")


@dataclass(frozen=True)
class MiniWorld:
    """Paths of the mini world of one seed."""

    root: Path = MINI_DATA / "seed0"

    @property
    def train_images(self) -> Path:
        """Images to mine and unlearn on."""
        return self.root / "train" / "images"

    @property
    def train_annotations(self) -> Path:
        """COCO annotations of the training images."""
        return self.root / "train" / "annotations"

    @property
    def eval_images(self) -> Path:
        """Images to evaluate on; drawn from seeds that nothing else uses."""
        return self.root / "eval" / "images"

    @property
    def eval_annotations(self) -> Path:
        """COCO annotations of the evaluation images."""
        return self.root / "eval" / "annotations"

    @property
    def captions(self) -> Path:
        """What `insight/caption.py` writes."""
        return self.root / "captions.jsonl"

    @property
    def objects(self) -> Path:
        """What `insight/object.py` writes."""
        return self.root / "objects.jsonl"

    @property
    def scores(self) -> Path:
        """What `insight/clip.py` writes: the objects with scores."""
        return self.root / "scores.jsonl"

    @property
    def pos_neg(self) -> Path:
        """What `finetune/format_data.py` writes: spans."""
        return self.root / "pos_neg.json"

    @property
    def sentences(self) -> Path:
        """What `finetune/format_data.py` writes: whole captions."""
        return self.root / "sentences.json"

    @property
    def repaired(self) -> Path:
        """What `finetune/format_data.py` writes: captions without what the scorer did not find."""
        return self.root / "repaired.json"

    @property
    def own_answers(self) -> Path:
        """What `insight/answer.py` writes: what the model answers before training."""
        return self.root / "own_answers.jsonl"

    @property
    def eval_captions(self) -> Path:
        """What `evaluate/eval_caption.py` writes."""
        return self.root / "captions_eval.jsonl"

    @property
    def result(self) -> Path:
        """What `evaluate/eval_auto.py` writes."""
        return self.root / "result.json"

    def is_complete(self, path: Path) -> bool:
        """Whether the step that makes a file or folder has ended, and for all items: its manifest says so.

        Of drawn images and annotations the annotation files, which come last, say it.
        """
        for split in ("train", "eval"):
            if path.is_relative_to(self.root / split):
                files = [
                    self.root / split / "annotations" / f"{kind}_{split}.json" for kind in ("captions", "instances")
                ]
                return all(file.is_file() for file in files)
        if not (path.exists() and manifest_path(path).is_file()):
            return False
        try:
            noted = read_json(manifest_path(path))
        except DataError:
            return False
        arguments = noted.get("arguments") if isinstance(noted, dict) else None
        if not isinstance(arguments, dict):
            return False
        return (arguments.get("start_pos", 0), arguments.get("end_pos", -1)) == (0, -1)

    def made_from(self, path: Path) -> tuple[str, Path] | None:
        """What a file of the mini world is made from: its name in the notes, and its place."""
        sources = {
            self.captions: ("images", self.train_images),
            self.eval_captions: ("images", self.eval_images),
            self.objects: ("captions", self.captions),
            self.scores: ("objects", self.objects),
            self.own_answers: ("objects", self.objects),
            self.pos_neg: ("scores", self.scores),
            self.sentences: ("scores", self.scores),
            self.repaired: ("scores", self.scores),
        }
        return sources.get(path)

    def outdated(self, path: Path) -> tuple[Path, Path] | None:
        """Of what a complete file rests on, the first that was made from something else than is there now.

        Returns that file and what it was made from; None where all fit, or nothing was noted.
        """
        source = self.made_from(path)
        if source is None or not source[1].exists() or not self.is_complete(path):
            return None
        name, place = source
        earlier = self.outdated(place)
        if earlier is not None:
            return earlier
        noted = {**(noted_settings(path) or {}), **noted_beside(path)}
        wanted = noted.get(f"{name}_sha256")
        now = _content(place, noted.get(name) if path == self.eval_captions else None) if wanted else None
        return (path, place) if wanted != now else None

    def step_that_makes(self, path: Path) -> tuple[str, ...] | None:
        """The module that makes a file of the mini world, and the flags that it is called with."""
        draw, spans = ("dataset.mini.draw",), SPANS
        makers = {
            self.train_images: draw,
            self.train_annotations: draw,
            self.eval_images: draw,
            self.eval_annotations: draw,
            self.captions: ("insight.caption", *SAMPLING),
            self.objects: ("insight.object",),
            self.scores: ("insight.clip",),
            self.own_answers: ("insight.answer",),
            self.pos_neg: spans,
            self.sentences: spans,
            self.repaired: spans,
            self.eval_captions: ("evaluate.eval_caption", *GREEDY),
        }
        return makers.get(path)


def _content(place: Path, first: object) -> object:
    """Hash of a file, or of the images of a folder: of all, or of the `first` so many."""
    if place.is_file():
        return file_hash([place])
    names = image_names(place)
    return images_hash(place, names[:first] if isinstance(first, int) else names)


def is_mini_model(args: ModelArguments) -> bool:
    """Whether the arguments choose the bundled model, saying so once; no path was given and the model is llava."""
    return args.is_bundled()


def model_path(args: ModelArguments) -> Path | str | None:
    """The chosen checkpoint, or the bundled one for `llava` without a path (said in one line)."""
    path = args.chosen("path")
    if path is None and is_mini_model(args):
        announce(f"no --llava_path: using the bundled {display(MINI_LLAVA)} and the built-in mini world")
        return MINI_LLAVA
    return path


@dataclass(frozen=True)
class Source:
    """An input by its name, so that a script can refuse its outputs before anything is made for it.

    Attributes:
        path: of the file or folder.
        of_world: whether nothing was given and it is the mini world's, which may have to be made.
    """

    path: Path
    of_world: bool

    def made(self, dry_run: bool = False) -> Path:
        """The path, once it is there as far as the mini world goes. Raises DataError, DryRunEnds as `ensure`."""
        if self.of_world:
            ensure(self.path, dry_run)
        return self.path

    def check_result(self, result: Path, restart: bool) -> None:
        """Raise DataError for records that rest on this file, which is gone and would be made anew for nothing."""
        if self.of_world and not restart and not self.path.exists() and result.exists() and result.stat().st_size:
            raise DataError(
                f"{display(result)} holds records already, and {display(self.path)}, which they would be made from, "
                "is not there; add --restart to make both anew, or choose another name"
            )


def source_of(given: str | None, mini: bool, default: Path, flag: str) -> Source:
    """`given`, or in the mini world the `default`, or the published place; nothing is made.

    Raises DataError if nothing was given and nothing lies in its place.
    """
    if given is not None:
        folder = flag == "--image_dir_path" and Path(given).is_dir()
        return Source(image_folder(Path(given)) if folder else Path(given), False)
    name = flag.removeprefix("--")
    if not mini and name in PUBLISHED:
        return Source(inputs({name: None})[name], False)
    if not mini:
        raise DataError(f"{flag} is needed with a model of your own; only the bundled mini model has a default")
    return Source(default, True)


def default_path(given: str | None, mini: bool, default: Path, flag: str, dry_run: bool = False) -> Path:
    """As :func:`source_of`, made by the earlier steps if it is missing or not complete.

    Raises DataError as it, or if a step fails; DryRunEnds where a dry run would have to make something first.
    """
    return source_of(given, mini, default, flag).made(dry_run)


def ensure(path: Path, dry_run: bool = False) -> None:
    """Make a file of the mini world, or go on making it, by running the step that makes it, with its defaults.

    Raises DataError for a file that is complete and was made from something else than is there now.
    """
    if MiniWorld().step_that_makes(path) is None:
        return
    _require_up_to_date(path)
    if dry_run:
        _require_complete(path)
        return
    name = f"{path.parent.name}/{path.name}"
    if not first_alone(name):
        return
    if not MiniWorld().is_complete(path):
        _make(path)
    first_is_done(name)


def _require_up_to_date(path: Path) -> None:
    """Raise DataError, as what is there may be wanted, or have taken long."""
    old = MiniWorld().outdated(path)
    if old is not None:
        step = MiniWorld().step_that_makes(old[0]) or ()
        restart = () if step == SPANS else ("--restart",)  # which are always made anew
        raise DataError(
            f"{display(old[0])} was not made from what {display(old[1])} holds now; make it anew with python -m "
            f"{' '.join((*step, *restart))}, or name files that belong together"
        )


def _require_complete(path: Path) -> None:
    """Raise DryRunEnds if a step would have to be run first."""
    if not MiniWorld().is_complete(path):
        command = " ".join(MiniWorld().step_that_makes(path) or ())
        raise DryRunEnds(f"{_state(path)}: python -m {command} would be run first; a dry run ends here")


def _state(path: Path) -> str:
    return f"{display(path)} is not {'complete' if path.exists() else 'there yet'}"


def _make(path: Path) -> None:
    step = MiniWorld().step_that_makes(path) or ()
    command = " ".join(step)
    announce(f"{_state(path)}: running python -m {command}")
    done = subprocess.run([sys.executable, "-m", *step], cwd=ROOT, env=without_launcher(dict(os.environ)), check=False)
    if done.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if done.returncode != 0:
        raise DataError(f"python -m {command} failed with code {done.returncode}; run it alone to see why")
