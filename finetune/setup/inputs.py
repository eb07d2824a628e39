"""The files of a run: found and read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import ArgumentError
from common.files.places import PUBLISHED, inputs, placed
from common.mini_world import MiniWorld, default_path, is_mini_model
from common.paths import MINI_LLAVA, display
from common.progress import announce
from finetune.corpus.gold import GoldSample, read_gold
from finetune.corpus.records import GOLD, REPAIR
from finetune.corpus.samples import Samples, read_samples
from finetune.objectives.presets import LossWeights
from finetune.setup.arguments import Flags, TrainDataArguments

SETS = ("pos_neg_data_path", "sentence_data_path", "image_dir_path")  # what every run of one's own needs


@dataclass(frozen=True)
class Inputs:
    """Files and folders of a run, resolved."""

    pos_neg: Path
    sentences: Path
    images: Path
    samples: Samples
    gold: tuple[GoldSample, ...]
    model: Path | str | None
    repaired: Path | None = None
    turn: bool = True  # images as their EXIF orientation says
    gold_images: Path = Path()  # folder of the instruction data's images

    @property
    def sets(self) -> list[Path]:
        """The files of the samples."""
        return [self.pos_neg, self.sentences, *([self.repaired] if self.repaired else [])]


def read_inputs(flags: Flags, weights: LossWeights) -> Inputs:
    """Resolve and read the files. Raises DataError, ArgumentError."""
    model, data, gold_counts = flags.model, flags.data, GOLD in weights.active()
    mini, world = is_mini_model(model) and data.image_dir_path is None, MiniWorld()
    if mini:
        pos_neg = default_path(data.pos_neg_data_path, mini, world.pos_neg, "--pos_neg_data_path", flags.run.dry_run)
        sentences = default_path(
            data.sentence_data_path, mini, world.sentences, "--sentence_data_path", flags.run.dry_run
        )
        folder = default_path(data.image_dir_path, mini, world.train_images, "--image_dir_path", flags.run.dry_run)
    else:
        found = inputs({name: getattr(data, name) for name in SETS})
        pos_neg, sentences, folder = (found[name] for name in SETS)
    gold, gold_folder = _gold(data, folder, mini, flags.run.dry_run) if gold_counts else ([], folder)
    turn = not model.ignore_exif_orientation
    source = MINI_LLAVA if is_mini_model(model) else model.chosen("path")
    repaired = _repaired_path(data, REPAIR in weights.active(), mini, flags.run.dry_run)
    samples = read_samples(pos_neg, sentences, repaired)
    return Inputs(pos_neg, sentences, folder, samples, tuple(gold), source, repaired, turn, gold_folder)


def _gold(data: TrainDataArguments, folder: Path, mini: bool, dry_run: bool) -> tuple[list[GoldSample], Path]:
    """Instruction data and the folder of its images: as given (by default among the others), or in its published place.

    In the mini world the model's own answers, made if they are not there.
    Raises ArgumentError if there is none, DataError as `read_gold`.
    """
    path: str | Path | None = data.gold_data_path or placed("gold_data_path")
    own = path is None and mini
    if own:
        path = default_path(None, mini, MiniWorld().own_answers, "--gold_data_path", dry_run)
    if path is None:
        raise ArgumentError(
            "the loss has a part on instruction data (--gold_w above 0): give LLaVA's JSON with --gold_data_path "
            f"(there is no {display(PUBLISHED['gold_data_path'][0])}) or the model's own answers (insight/answer.py), "
            "or leave it out with --gold_w 0"
        )
    given = data.gold_image_dir_path or (None if data.gold_data_path or own else placed("gold_image_dir_path"))
    flag, images = "--image_dir_path" if given is None else "--gold_image_dir_path", Path(given or folder)
    gold, passed = read_gold(str(path), images, data.gold_size, flag)
    announce(f"instruction data: {len(gold)} records, {passed} without an image or an answer passed over")
    return gold, images


def _repaired_path(data: TrainDataArguments, counts: bool, mini: bool, dry_run: bool) -> Path | None:
    if data.repaired_data_path and not counts:
        raise ArgumentError("--repaired_data_path is given, but the loss has no part on it; add --repair_w")
    if not counts:
        return None
    if not data.repaired_data_path and not mini:
        raise ArgumentError(
            "the loss has a part on repaired captions (--repair_w above 0): give them with --repaired_data_path "
            "(finetune/format_data.py writes them), or leave it out with --repair_w 0"
        )
    return default_path(data.repaired_data_path, mini, MiniWorld().repaired, "--repaired_data_path", dry_run)
