"""Worlds that the leaderboard unlearns on: drawn and mined once, by the scripts that a user runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.args import ThresholdArguments
from common.errors import DataError
from common.files.gold import read_truth
from common.files.record_files import dump_line, objects_to_json, read_objects
from common.files.records import CaptionObjects
from common.files.storage import read_json, write_json, write_text
from common.files.vocabulary import ObjectVocabulary, read_vocabulary
from common.manifest import manifest_path
from common.mini_world import SAMPLING, MiniWorld
from common.outputs.settings import noted_settings
from common.paths import MINI_CLIP, display
from common.relevance.noise import noisy
from insight.scores.auto_thresholds import resolve_thresholds
from insight.scores.detector_quality import auroc, label_scores
from tests.bench.board.recipes import Mined
from tests.bench.board.scripts import Scripts

AUTO = ("--hal_clip_thres", "auto", "--norm_clip_thres", "auto", "--sentence_clip_thres", "auto")
INFER_BS = 256


@dataclass(frozen=True)
class Worlds:
    """Worlds of one size, each in a folder of its own.

    Attributes:
        folder: that holds them.
        scripts: how scripts are run; where one fails its last words are a DataError.
        images: to mine and to judge on.
        captions: of each image that is mined.
    """

    folder: Path
    scripts: Scripts
    images: tuple[int, int]
    captions: int

    def world(self, seed: int) -> MiniWorld:
        """Files of one world."""
        return MiniWorld(self.folder / f"world{seed}")

    def check(self, seed: int) -> None:
        """Raise DataError where a world that is there has other images than are asked for, or fewer captions."""
        world, (train, judged) = self.world(seed), self.images
        has = {
            "train": sum(1 for _ in world.train_images.iterdir()),
            "eval": sum(1 for _ in world.eval_images.iterdir()),
            "captions": (noted_settings(world.captions) or {}).get("captions_per_image", self.captions),
        }
        for name, wanted in (("train_images", train), ("eval_images", judged), ("captions", self.captions)):
            there = has[name.removesuffix("_images")]
            if there < wanted or (name != "captions" and there != wanted):
                raise DataError(
                    f"{display(world.root)} was mined with --{name} {there}, and {wanted} are asked for; "
                    "give another --folder"
                )

    def mine(self, seed: int) -> None:
        """Images, captions, objects and scores of a world, where they are not there. Raises DataError."""
        world = self.world(seed)
        if world.eval_annotations.exists():
            self.check(seed)
        else:
            train, judged = self.images
            sizes = ("--train_images", train, "--eval_images", judged)
            self.scripts.call("dataset.mini.draw", "--seed", seed, "--output_dir", world.root, *sizes)
        images = ("--image_dir_path", world.train_images)
        steps: list[tuple[Path, tuple[object, ...]]] = [
            (
                world.captions,
                (
                    "insight.caption", "--caption_data_path", world.captions, *images, *SAMPLING, "--seed", seed,
                    "--captions_per_image", self.captions, "--infer_bs", INFER_BS,
                ),
            ),
            (
                world.objects,
                ("insight.object", "--caption_data_path", world.captions, "--object_data_path", world.objects),
            ),
            (
                world.scores,
                (
                    "insight.clip", "--object_data_path", world.objects, "--score_data_path", world.scores, *images,
                    "--annotation_path", world.train_annotations, "--clip_model", MINI_CLIP, *AUTO,
                ),
            ),
        ]  # fmt: skip
        for result, command in steps:
            if not manifest_path(result).exists():
                self.scripts.call(str(command[0]), *command[1:])

    def own_answers(self, seed: int, sets: Path, mined: Mined) -> Path:
        """What the base model answers about the images that a recipe takes of a world."""
        world = self.world(seed)
        path = world.root / f"{mined.answers_name}.jsonl"
        if not manifest_path(path).exists():
            self.scripts.call(
                "insight.answer", "--object_data_path", sets / "scores.jsonl", "--image_dir_path", world.train_images,
                "--answer_data_path", path, "--seed", seed, "--infer_bs", INFER_BS, *mined.answers,
            )  # fmt: skip
        return path

    def sets(self, seed: int, target: float, mined: Mined) -> Path:
        """The folder of the three sets of a world, made of what a recipe takes of its scores, blurred or not."""
        world = self.world(seed)
        folder = world.root / f"{mined.name}{f'-auroc{target:g}' if target else ''}"
        if manifest_path(folder / "pos_neg.json").exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        self.take(world, seed, target, mined, folder / "scores.jsonl")
        self.scripts.call(
            "finetune.format_data", "--score_data_path", folder / "scores.jsonl",
            "--pos_neg_data_path", folder / "pos_neg.json", "--sentence_data_path", folder / "sentences.json",
            "--repaired_data_path", folder / "repaired.json", *AUTO, *mined.flags,
        )  # fmt: skip
        return folder

    def take(self, world: MiniWorld, seed: int, target: float, mined: Mined, path: Path) -> None:
        """Write the scores of some images and captions, with noise or not, and the thresholds that `auto` takes."""
        vocabulary = read_vocabulary()
        records = mined.taken(read_objects(world.scores))
        noted = read_json(manifest_path(world.scores))  # scorer and extractor, which a probe asks for
        found = None
        if target:
            gold = read_truth(world.train_annotations, None, vocabulary).objects
            records, found, deviation = blurred_to(records, gold, vocabulary, target, seed)
            noted["scorer"] = {
                **noted.get("scorer", {}),
                "noise": deviation,
                "noise_seed": seed,
            }  # as its scorer must be
        write_text(path, "".join(dump_line(objects_to_json(record)) + "\n" for record in records))
        thresholds = resolve_thresholds(ThresholdArguments("auto", "auto", "auto"), records, mini=True)
        write_json(manifest_path(path), noted | {"thresholds": asdict(thresholds), "auroc": found})


def blurred_to(
    records: Sequence[CaptionObjects], gold: Any, vocabulary: ObjectVocabulary, target: float, seed: int
) -> tuple[list[CaptionObjects], float, float]:
    """Scores plus noise of the deviation, found by halving, at which the AUROC is the target; that AUROC, and that."""
    low, high, deviation = 0.0, 1000.0, 0.0
    found, reached = list(records), auroc(label_scores(records, gold, vocabulary))
    if reached <= target:
        raise DataError(
            f"the scores have an AUROC of {reached:.3f}, not above {target:g}; they cannot be blurred to it"
        )
    for _ in range(40):
        deviation = (low + high) / 2
        found = noisy(records, deviation, seed)
        reached = auroc(label_scores(found, gold, vocabulary))
        low, high = (deviation, high) if reached > target else (low, deviation)
    return found, reached, deviation
