"""The project's scripts, each in a process forked from one that has imported everything that they need."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from threading import Lock

from common import cli
from common.errors import DataError
from common.paths import ROOT

MODULES = (
    "insight.caption", "insight.object", "insight.clip", "insight.answer", "finetune.format_data", "finetune.train",
    "evaluate.eval_caption", "evaluate.eval_auto", "evaluate.eval_pope", "dataset.mini.draw",
)  # fmt: skip
# Starting a process also collects those that have ended: of two threads that read one's exit code, the second gets 255.
ALONE = Lock()
LIBRARIES = ("torch", "transformers.models.llava.modeling_llava", "finetune.run.trainer", "finetune.setup.build")


@dataclass(frozen=True)
class Scripts:
    """Calls scripts with `threads` threads each; `libraries` are loaded before the first, with the scripts."""

    threads: int
    libraries: tuple[str, ...] = (*MODULES, *LIBRARIES)

    def call(self, module: str, *flags: object) -> None:
        """Run one script to its end. Raises DataError with its last words if it fails."""
        words = [str(flag) for flag in flags]
        with tempfile.NamedTemporaryFile("r", suffix=".log", encoding="utf-8", errors="replace") as log:
            process = self._context().Process(target=_run, args=(module, words, log.name))
            with ALONE:
                process.start()
            wait([process.sentinel])
            with ALONE:
                process.join()
            said = log.read().strip().splitlines()
        if process.exitcode != 0:
            raise DataError(f"{' '.join([module, *words])} ended with {process.exitcode}: {said[-1:]}")

    def _context(self) -> ForkServerContext:
        """The server of this process; started with the first call, under these variables."""
        os.environ |= {"OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}
        context = get_context("forkserver")
        context.set_forkserver_preload(["__main__", *self.libraries])
        return context


def _run(module: str, flags: list[str], log: str) -> None:
    """In the forked process: everything that the script says goes to a file."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    sys.argv = [str(Path(*module.split(".")).with_suffix(".py")), *flags]
    cli.run(importlib.import_module(module).main)
