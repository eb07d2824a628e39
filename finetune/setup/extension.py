"""A run that is to be longer than it was begun: continued from its last checkpoint, where its steps allow it.

A step depends on its number alone, and so does its batch. Only what changes over the length of the run - a learning
rate or a weight of the loss with a schedule - makes a longer run another one from the first step on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import ArgumentError
from common.outputs.settings import check_settings, noted_settings
from common.paths import display
from finetune.corpus.records import KINDS
from finetune.setup.job import Job

LENGTH = ("max_steps", "train_epoch")
STEADY = ("constant", "constant_with_warmup")  # schedules of the learning rate that do not look at the end


def is_longer(job: Job, settings: Mapping[str, Any]) -> bool:
    """Whether the run in the folder is asked to go on beyond the length that it was begun with; then checks the rest.

    Args:
        settings: of the present call.

    Raises ArgumentError for a run that cannot be extended, one that would be shortened, or other settings.
    """
    noted = noted_settings(job.folder.path) or {}
    if not job.folder.is_begun or all(noted.get(name, settings[name]) == settings[name] for name in LENGTH):
        return False
    check_settings(job.folder.path, {name: value for name, value in settings.items() if name not in LENGTH})
    was, now = (_length(values) for values in (noted, settings))
    if was[0] != now[0] or now[1] < was[1]:
        raise ArgumentError(
            f"{display(job.folder.path)} was begun with {_words(*was)}, now it is {_words(*now)}; a run can be made "
            "longer by the flag that gave its length, or begun anew with --restart"
        )
    reason = fixed_length(job)
    if reason is not None:
        raise ArgumentError(
            f"{display(job.folder.path)} cannot be extended from {_words(*was)} to {_words(*now)}: {reason} changes "
            "over the length of the run, so all its steps would be others; add --restart to train anew"
        )
    return True


def fixed_length(job: Job) -> str | None:
    """What depends on the length of the run; None if nothing does."""
    if job.optimizer.lr_scheduler_type not in STEADY:
        return f"the learning rate (--lr_scheduler_type {job.optimizer.lr_scheduler_type})"
    if job.probe.is_on:
        return "the probe (--keep, --probe_steps), which is also made after the last step,"
    moving = [kind for kind in KINDS if job.weights.schedule(kind).start != job.weights.schedule(kind).end]
    return f"the weight of the loss's part {moving[0]} (--{moving[0]}_w_start, --{moving[0]}_w_end)" if moving else None


def _length(settings: Mapping[str, Any]) -> tuple[str, float]:
    """The flag that gives a run's length, and its value; steps go before epochs."""
    steps = settings.get("max_steps") or -1
    return ("max_steps", steps) if steps > 0 else ("train_epoch", float(settings.get("train_epoch") or 0))


def _words(flag: str, value: float) -> str:
    return f"--{flag} {value:g}"
