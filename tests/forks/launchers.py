"""Scripts as two processes, started by the real launchers; these and the processes are forks."""

from __future__ import annotations

from collections.abc import Sequence

from tests.forks.scripts import python, run

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python")
ACCELERATE = (
    "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--no_python",
)  # fmt: skip


def torchrun(module: str, words: Sequence[str]) -> str:
    """What all said on standard error. Raises AssertionError if one failed."""
    return _launched(TORCHRUN, "-m", module, *words)


def torchrun_code(code: str, words: Sequence[str]) -> str:
    """The same of lines of Python in place of a module."""
    return _launched(TORCHRUN, "-c", code, *words)


def accelerate(module: str, words: Sequence[str]) -> str:
    """What all said on standard error. Raises AssertionError if one failed."""
    return _launched(ACCELERATE, "-m", module, *words)


def _launched(launcher: Sequence[str], *words: str) -> str:
    done = run([*launcher, *python(), *words])
    assert done.returncode == 0, done.stderr[-3000:]
    return str(done.stderr)
