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
    return _launched(TORCHRUN, module, words)


def accelerate(module: str, words: Sequence[str]) -> str:
    """What all said on standard error. Raises AssertionError if one failed."""
    return _launched(ACCELERATE, module, words)


def _launched(launcher: Sequence[str], module: str, words: Sequence[str]) -> str:
    done = run([*launcher, *python(), "-m", module, *words])
    assert done.returncode == 0, done.stderr[-3000:]
    return str(done.stderr)
