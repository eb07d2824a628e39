"""A checkpoint that is tried, and the scripts that users run, called in this process."""

from __future__ import annotations

import gc
import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from common.progress import announce_once
from deploy.steps.scripts import libraries_of

SHORT = ("--report_to", "none", "--device", "cpu", "--logging_steps", "1", "--train_bs", "2", "--train_lr", "1e-3")
SCRIPTS = (
    "insight.caption",
    "insight.object",
    "insight.clip",
    "finetune.format_data",
    "finetune.train",
    "evaluate.eval_caption",
    "evaluate.eval_auto",
    "evaluate.eval_pope",
    "deploy.export",
)

# What they load when they need it.
LIBRARIES = (
    *libraries_of(("caption", "train", "objects", "judge", "score")),
    "accelerate",
    "bitsandbytes",
    "peft",
    "transformers.models.auto.modeling_auto",
    "transformers.trainer_callback",
)


def load_all() -> None:
    """Load all that the scripts need, for the processes that are forked from this one."""
    for name in (*SCRIPTS, *LIBRARIES):
        importlib.import_module(name)
    gc.freeze()


@dataclass(frozen=True)
class Case:
    """A checkpoint, data to train on, and a folder for what comes out."""

    base: Path
    data: Path
    out: Path

    def named(self, *more: str) -> list[str]:
        """Flags that name the model."""
        return ["--model", "auto", "--model_path", str(self.base), *more]

    def model(self, *more: str) -> list[str]:
        """Flags that name the model and the images."""
        return self.named("--image_dir_path", str(self.data / "images"), *more)

    def train(self, name: str, *more: str) -> list[str]:
        """Flags of a training run into the folder `name`."""
        sets = ["--pos_neg_data_path", str(self.data / "pos_neg.json")]
        sets += ["--sentence_data_path", str(self.data / "sentences.json")]
        return self.model(*SHORT, *sets, "--ckpt_save_path", str(self.out / name), *more)


@contextmanager
def heard() -> Iterator[io.StringIO]:
    """What is said meanwhile, in place of showing it; what is said once a process, too."""
    announce_once.cache_clear()
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        yield said


def script(name: str, *flags: str) -> str:
    """Run the script of a module; what it said."""
    before, sys.argv = sys.argv, [name, *flags]
    try:
        with heard() as said:
            importlib.import_module(name).main()
    finally:
        sys.argv = before
    return said.getvalue()
