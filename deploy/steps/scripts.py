"""Runs the pipeline's scripts one after the other, each in a process of its own.

Loading torch, transformers and spaCy takes ten seconds of a core, longer than most steps of a small model. So where
processes can be forked and no GPU is there, whose driver does not survive a fork, all scripts are forks of one process
that has loaded them once (`server.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from common.paths import ROOT
from deploy.steps.files import BENCHMARKS

GRACE_SECONDS = 1.0  # for a script, after Ctrl-C
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of GPUs
MODEL = (
    "transformers.models.llama.modeling_llama",
    "transformers.models.clip.modeling_clip",
    "transformers.generation",
    "torchvision",
    "safetensors.torch",
)
LIBRARIES = {
    **dict.fromkeys(("caption", "caption_eval", *BENCHMARKS), MODEL),
    "train": (*MODEL, "transformers.trainer"),
    "objects": ("spacy",),
    "judge": ("nltk",),
    "score": ("torch", "open_clip"),
}


def libraries_of(steps: Sequence[str]) -> list[str]:
    """What the scripts of these steps load, each once."""
    return list(dict.fromkeys(library for step in steps for library in LIBRARIES.get(step, ())))


def can_fork() -> bool:
    """Whether a process that has loaded the libraries can be forked."""
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in DRIVERS)


def environment() -> dict[str, str]:
    """Of the scripts: this checkout's modules, wherever the pipeline is called from."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Scripts:
    """Runs scripts until it is left; what they are forked from is started with the first."""

    def __init__(self) -> None:
        self.forking = can_fork()
        self.server: subprocess.Popen[bytes] | None = None
        self.orders: FileIO
        self.codes: TextIO

    def __enter__(self) -> Scripts:
        return self

    def run(self, words: Sequence[str], step: str, later: Sequence[str] = ()) -> int:
        """Run `python WORDS`, the script of a step, to its end; returns its exit code.

        Args:
            words: `-m`, a module, and its arguments.
            later: steps that will be run after it.
        """
        if not self.forking:
            return subprocess.run([sys.executable, *words], env=environment(), check=False).returncode
        if self.server is None:
            self._start()
        order: dict[str, Any] = {"words": list(words), "now": libraries_of([step]), "later": libraries_of(later)}
        try:
            self.orders.write(f"{json.dumps(order)}\n".encode())
            return int(self.codes.readline() or 1)  # nothing: the server was killed
        except BrokenPipeError:
            return 1

    def _start(self) -> None:
        (orders, self_orders), (self_codes, codes) = os.pipe(), os.pipe()
        command = [sys.executable, "-m", f"{__package__}.server", str(orders), str(codes)]
        self.server = subprocess.Popen(command, env=environment(), pass_fds=(orders, codes))
        os.close(orders)
        os.close(codes)
        self.orders, self.codes = os.fdopen(self_orders, "wb", buffering=0), os.fdopen(self_codes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server ends with its orders, or at once; a script that is running is given time to end by itself."""
        if self.server is None:
            return
        self.orders.close()
        try:
            self.server.wait(None if kind is None else GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.terminate()
            self.server.wait()
        self.codes.close()
