"""Everything that a run is made of, resolved from its flags; no file has been read and no model loaded for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.args import ModelArguments
from common.errors import ArgumentError
from common.mini_world import is_mini_model
from common.paths import CHECKPOINTS
from common.thresholds import Thresholds, resolve
from finetune.corpus.records import GOLD, KINDS
from finetune.objectives.presets import (
    MINI_STEPS,
    PUBLISHED_STEPS,
    LossWeights,
    StepDefaults,
    WeightOverrides,
    loss_weights,
)
from finetune.probe.arguments import ProbeArguments
from finetune.probe.instruments import Instruments, find_instruments
from finetune.run.folder import RunFolder
from finetune.setup.arguments import EngineArguments, Flags, LossArguments, OptimizerArguments, TrackingArguments


@dataclass(frozen=True)
class Job:
    """Everything a run is made of, apart from the model."""

    loss: LossArguments
    optimizer: OptimizerArguments
    tracking: TrackingArguments
    engine: EngineArguments
    weights: LossWeights
    thresholds: Thresholds
    defaults: StepDefaults
    folder: RunFolder
    seed: int
    valid_split: float
    probe: ProbeArguments
    instruments: Instruments | None  # of the probe, where there is one

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.defaults.lr if self.optimizer.train_lr is None else self.optimizer.train_lr

    @property
    def token_steps(self) -> bool:
        """Whether a step is one pack of as many images as fit."""
        args = self.optimizer
        return args.sampling == "shared" and self.engine.tokens_per_batch is not None and not args.train_bs

    @property
    def images(self) -> int:
        """Images a step, with shared sampling; 0: as many as fit into a pack."""
        if self.token_steps:
            return 0
        return self.defaults.images if self.optimizer.train_bs is None else self.optimizer.train_bs

    @property
    def samples(self) -> dict[str, int]:
        """Samples of each kind a step, with paper sampling."""
        args = self.optimizer
        return {kind: getattr(args, f"train_bs_{kind}") for kind in KINDS}

    @property
    def run_name(self) -> str:
        """Name of the run in the logs."""
        return self.tracking.run_name or self.folder.path.name


def save_folder(model: ModelArguments, run_name: str | None) -> RunFolder:
    """As published: `--{model}_ckpt_save_path` or checkpoints/MODEL, and below it RUN_NAME.

    Without a name the given folder is the run's own, and the default is checkpoints/MODEL-efuf.
    """
    given = model.chosen("ckpt_save_path")
    if run_name:
        return RunFolder(Path(given or CHECKPOINTS / model.model) / run_name)
    return RunFolder(Path(given) if given else CHECKPOINTS / f"{model.model}-efuf")


def resolve_weights(loss: LossArguments) -> LossWeights:
    """The preset's weights with the single values that were given.

    Raises ArgumentError for an unknown name, and where nothing mined would be learnt from or unlearnt.
    """
    given = {name: getattr(loss, name) for name in WeightOverrides.__dataclass_fields__}
    weights = loss_weights(loss.preset, WeightOverrides(**given))
    if not set(weights.active()) - {GOLD}:
        raise ArgumentError(
            "the weights of all mined parts of the loss are 0; raise --pos_w_start, --neg_w_start, --sent_w or "
            "--repair_w"
        )
    return weights


def resolve_job(flags: Flags, weights: LossWeights, folder: RunFolder, pos_neg: Path) -> Job:
    """The run that the flags describe; thresholds that no flag gives are those of `pos_neg`'s manifest.

    Raises ArgumentError for thresholds that do not fit; as `find_instruments` where there is a probe.
    """
    mini = is_mini_model(flags.model)
    mini_samples = mini and flags.data.pos_neg_data_path is None
    instruments = None
    if flags.probe.is_on:
        instruments = find_instruments(flags.probe, flags.thresholds, pos_neg, mini_samples)
    if flags.optimizer.paper_numerics:
        flags.model.dtype = "bfloat16"
    return Job(
        loss=flags.loss,
        optimizer=flags.optimizer,
        tracking=flags.tracking,
        engine=flags.engine,
        weights=weights,
        thresholds=resolve(flags.thresholds, pos_neg, mini_samples),
        defaults=MINI_STEPS if mini else PUBLISHED_STEPS,
        folder=folder,
        seed=flags.run.seed,
        valid_split=flags.data.valid_data_split,
        probe=flags.probe,
        instruments=instruments,
    )
