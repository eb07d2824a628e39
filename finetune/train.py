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

from collections.abc import Sequence
from dataclasses import asdict

from common.args import parse
from common.cli import run
from common.manifest import manifest, write_manifest
from common.outputs.settings import begin_or_continue, note_settings
from common.paths import display
from common.progress import announce, say
from finetune.run.tracking import prepare_tracking
from finetune.setup.arguments import GROUPS, Flags
from finetune.setup.identity import settings_of
from finetune.setup.inputs import Inputs, read_inputs
from finetune.setup.job import Job, resolve_job, resolve_weights, save_folder

ARGUMENTS = GROUPS


def already_finished(flags: Flags, job: Job, inputs: Inputs) -> bool:
    """Whether this very run has ended. Raises ArgumentError if the folder's run was begun with other settings."""
    begin_or_continue(job.folder.path, settings_of(flags, job, inputs))
    pointer = job.folder.pointer()
    if pointer is None or not pointer.finished:
        return False
    announce(f"{display(job.folder.path)} is finished ({pointer.step} steps); add --restart to train anew")
    return True


def train(flags: Flags, job: Job, inputs: Inputs) -> None:
    """Build the trainer and run it to its end, or only say what it would do. The main process prints the folder."""
    from common.models import load_from_args
    from finetune.setup.build import build_trainer, cost_line
    from finetune.setup.data import prepare

    model = load_from_args(flags.model)
    data = prepare(job, inputs, model)
    announce("\n".join(data.lines()))
    if not flags.run.dry_run:
        # Only now, when the data are known to be good, may an earlier run be given up.
        if flags.run.restart:
            note_settings(job.folder.path, settings_of(flags, job, inputs))
        job.folder.begin(flags.run.restart)
        job.folder.keep_split(job.seed, data.corpus.train_images, data.corpus.valid_images)
    trainer = build_trainer(job, model, data)
    announce(cost_line(trainer))
    if flags.run.dry_run:
        return
    prepare_tracking(job.tracking.report_to, job.tracking.wandb_user, job.folder.path)
    trainer.run()
    if trainer.args.should_save:
        notes = manifest(
            flags,
            model=inputs.model,
            thresholds=asdict(job.thresholds),
            learning_rate=job.lr,
            images_a_step=job.images,
            **data.notes(),
            **trainer.notes(),
        )
        write_manifest(job.folder.path / "trained.safetensors", notes)
        say(display(job.folder.path))


def main(argv: Sequence[str] | None = None) -> None:
    """Resolve, read, prepare, build, run. Raises UserErrors for everything that the user can mend."""
    flags = Flags(*parse(ARGUMENTS, "Fine-grained unlearning on mined spans", argv, step="train"))
    flags.check()
    weights = resolve_weights(flags.loss)
    folder = save_folder(flags.model, flags.tracking.run_name)
    folder.check()
    inputs = read_inputs(flags, weights)
    job = resolve_job(flags, weights, folder, inputs.pos_neg)
    if not flags.run.dry_run and not flags.run.restart and already_finished(flags, job, inputs):
        return
    train(flags, job, inputs)


if __name__ == "__main__":
    run(main)
