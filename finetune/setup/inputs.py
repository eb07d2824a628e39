"""The files of a run: found and read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import ArgumentError
from common.mini_world import MiniWorld, default_path, is_mini_model
from common.paths import MINI_LLAVA
from common.progress import announce
from finetune.corpus.gold import GoldSample, read_gold
from finetune.corpus.records import GOLD, REPAIR
from finetune.corpus.samples import Samples, read_samples
from finetune.objectives.presets import LossWeights
from finetune.setup.arguments import Flags, TrainDataArguments


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
    pos_neg = default_path(data.pos_neg_data_path, mini, world.pos_neg, "--pos_neg_data_path")
    sentences = default_path(data.sentence_data_path, mini, world.sentences, "--sentence_data_path")
    folder = default_path(data.image_dir_path, mini, world.train_images, "--image_dir_path")
    if gold_counts and not data.gold_data_path:
        raise ArgumentError(
            "the loss has a part on instruction data (--gold_w above 0): give LLaVA's JSON with --gold_data_path, "
            "or leave it out with --gold_w 0"
        )
    gold: list[GoldSample] = []
    gold_folder = Path(data.gold_image_dir_path or folder)
    if gold_counts and data.gold_data_path:
        gold_flag = "--gold_image_dir_path" if data.gold_image_dir_path else "--image_dir_path"
        gold, passed = read_gold(data.gold_data_path, gold_folder, data.gold_size, gold_flag)
        announce(f"instruction data: {len(gold)} records, {passed} without an image passed over")
    turn = not model.ignore_exif_orientation
    source = MINI_LLAVA if is_mini_model(model) else model.chosen("path")
    repaired = _repaired_path(data, REPAIR in weights.active(), mini)
    samples = read_samples(pos_neg, sentences, repaired)
    return Inputs(pos_neg, sentences, folder, samples, tuple(gold), source, repaired, turn, gold_folder)


def _repaired_path(data: TrainDataArguments, counts: bool, mini: bool) -> Path | None:
    if data.repaired_data_path and not counts:
        raise ArgumentError("--repaired_data_path is given, but the loss has no part on it; add --repair_w")
    if not counts:
        return None
    if not data.repaired_data_path and not mini:
        raise ArgumentError(
            "the loss has a part on repaired captions (--repair_w above 0): give them with --repaired_data_path "
            "(finetune/format_data.py writes them), or leave it out with --repair_w 0"
        )
    return default_path(data.repaired_data_path, mini, MiniWorld().repaired, "--repaired_data_path")
