"""Fine-grained unlearning: three-set training on mined spans.

    python finetune/train.py --model llava                              # the built-in mini world
    python finetune/train.py --llava_path llava-1.5-7b-hf --pos_neg_data_path pos_neg.json \\
        --sentence_data_path sentences.json --image_dir_path train2014

Leaves trained.safetensors in the run's folder (checkpoints/llava-efuf), which `--llava_ckpt_load_path` takes. Run the
same command again to continue a killed run; the result is the same, byte for byte. `--preset`, `--objective` and
`--sampling` are explained in `finetune/README.md`.

Raises ArgumentError for flags that do not fit, DataError for missing, malformed or empty sets, CheckpointError for
weights, DivergedError for a loss that is not finite.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.args import parse
from common.cards.run_card import write_run_card
from common.cli import run
from common.errors import ArgumentError
from common.manifest import git_commit, manifest, versions, write_manifest
from common.outputs.locks import exclusive
from common.outputs.session import Session, launched
from common.outputs.settings import check_settings
from common.paths import display
from common.processes import is_first
from common.progress import announce, say
from finetune.run.folder import WEIGHTS, RunFolder
from finetune.run.tracking import prepare_tracking
from finetune.setup.arguments import GROUPS, Flags
from finetune.setup.extension import LENGTH, is_longer
from finetune.setup.identity import settings_of
from finetune.setup.inputs import Inputs, read_inputs
from finetune.setup.job import Job, resolve_job, resolve_weights, save_folder

if TYPE_CHECKING:
    from common.models.base import CaptionModel
    from finetune.run.trainer import SpanTrainer
    from finetune.setup.data import TrainingData

ARGUMENTS = GROUPS


@contextmanager
def taken(folder: RunFolder, dry_run: bool) -> Iterator[None]:
    """Hold the lock of the run's folder; the first process does it for all that were launched together."""
    with nullcontext() if dry_run or not is_first() else exclusive(folder.path):
        folder.check()
        yield


def already_finished(job: Job, settings: Mapping[str, Any]) -> bool:
    """Whether this very run has ended. Raises ArgumentError if the folder's run was begun with other settings.

    A run that is to be longer has not ended (`finetune/setup/extension.py`).
    """
    if is_longer(job, settings):
        return False
    if job.folder.is_begun:
        check_settings(job.folder.path, settings)
    if not job.folder.is_complete:
        return False
    last = job.folder.last()
    steps = f" ({last.step} steps)" if last else ""
    announce(f"{display(job.folder.path)} is finished{steps}; add --restart to train anew")
    return True


def train(flags: Flags, job: Job, inputs: Inputs, settings: Mapping[str, Any]) -> None:
    """Build the trainer and run it to its end, or only say what it would do. The main process prints the folder."""
    from common.models import load_from_args
    from finetune.setup.build import build_trainer, cost_line, plan_run
    from finetune.setup.data import prepare
    from finetune.setup.probing import make_prober, plan_probes, positive_items

    model = load_from_args(flags.model)
    data = prepare(job, inputs, model)
    announce("\n".join(data.lines()))
    prober = make_prober(job, inputs, data, model)
    if not flags.run.dry_run and is_first():
        begin(job, data, settings, flags.run.restart)
    plan = plan_run(job, model, data, flags.run.dry_run)
    announce(cost_line(plan))
    probes = plan_probes(job, plan, prober)
    if flags.run.dry_run:
        return
    prepare_tracking(job.tracking.trackers(), job.tracking.wandb_user, job.folder.path)
    trainer = build_trainer(job, data, plan)
    if probes is not None and prober is not None:
        trainer.probe_with(probes, prober, *positive_items(data.corpus, prober.names, job.seed))
    add_gallery(trainer, job, data, model)
    trainer.run()
    if trainer.args.should_save:
        finish(flags, job, inputs, {**data.notes(), **trainer.notes()})


def begin(job: Job, data: TrainingData, settings: Mapping[str, Any], restart: bool) -> None:
    """Begin or continue the run's folder: only now, when the data are known to be good, may an earlier run be given up.

    Raises ArgumentError if it was begun with other settings.
    """
    if not restart and is_longer(job, settings):
        announce(f"{display(job.folder.path)} is made longer")
        job.folder.reopen({name: settings[name] for name in LENGTH})
    job.folder.begin(settings, restart)
    job.folder.keep_split(job.seed, data.corpus.train_images, data.corpus.valid_images)


def finish(flags: Flags, job: Job, inputs: Inputs, notes: Mapping[str, Any]) -> None:
    """Write the run's card and manifest, which says that all is complete, and print the folder."""
    found = manifest(
        flags,
        model=inputs.model,
        thresholds=asdict(job.thresholds),
        learning_rate=job.lr,
        images_a_step=job.images,
        **notes,
    )
    write_run_card(job.folder.path, found)
    write_manifest(job.folder.path / WEIGHTS, found)
    say(display(job.folder.path))


def add_gallery(trainer: SpanTrainer, job: Job, data: TrainingData, model: CaptionModel) -> None:
    """Let trackers that can show what is said of some pictures before and after: held-out ones, where there are any."""
    from finetune.run.gallery import gallery_of

    names = data.corpus.valid_images or data.corpus.train_images
    gallery = gallery_of(job.tracking.trackers(), model, data.images, names)
    if gallery is not None:
        trainer.add_callback(gallery)


def leave_launch() -> None:
    """Part from the other processes, which torch wants said before they end."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def check_paths(flags: Flags, folder: RunFolder) -> None:
    """Raise ArgumentError if training would write into what it reads: the model, or the weights laid over it."""
    for name, given in (("path", flags.model.chosen("path")), ("ckpt_load_path", flags.model.chosen("ckpt_load_path"))):
        if given and Path(os.path.realpath(given)).is_relative_to(os.path.realpath(folder.path)):
            raise ArgumentError(
                f"--{flags.model.model}_{name} {given} lies in {display(folder.path)}, where this run would write; "
                f"choose another folder with --{flags.model.model}_ckpt_save_path"
            )


def train_together(flags: Flags, job: Job, inputs: Inputs, session: Session | None) -> None:
    """Train, unless this run has ended before, which the first process says for all.

    Raises ArgumentError where processes of a launch differ in versions or settings.
    """
    settings = settings_of(flags, job, inputs)
    if session is not None:
        session.join({**versions(), "commit": git_commit(), **settings})
    if session is None or session.me.is_first:
        ended = not flags.run.restart and already_finished(job, settings)
        if session is not None:
            session.post("ended", ended)
    else:
        ended = json.loads(session.wait("ended", 0))
    if not ended:
        train(flags, job, inputs, settings)
    if session is not None:
        session.part()


def main(argv: Sequence[str] | None = None) -> None:
    """Resolve, read, prepare, build, run. Raises UserErrors for everything that the user can mend."""
    flags = Flags(*parse(ARGUMENTS, __doc__ or "", argv, step="train"))
    flags.check()
    weights = resolve_weights(flags.loss)
    folder = save_folder(flags.model, flags.tracking.run_name)
    check_paths(flags, folder)
    with taken(folder, flags.run.dry_run), nullcontext() if flags.run.dry_run else launched() as session:
        inputs = read_inputs(flags, weights)
        job = resolve_job(flags, weights, folder, inputs.pos_neg)
        if flags.run.dry_run:
            train(flags, job, inputs, {})
        else:
            train_together(flags, job, inputs, session)
        leave_launch()


if __name__ == "__main__":
    run(main)
