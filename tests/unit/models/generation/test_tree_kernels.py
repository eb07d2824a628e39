"""Which way a step attends, and the kernels' arithmetic by Triton's interpreter, against plain operations."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from common.models.generation.tree.kernels import best_way

CHECK = """
import torch
from tests.unit.models.generation.tree_kernel_check import attention_error, gate_error, trunk_error
for shape in [(3, 5, 4, 4, 32), (2, 1, 4, 2, 16), (2, 3, 8, 2, 64)]:
    assert attention_error(*shape, dtype=torch.float32, device="cpu") < 1e-5, shape
for shape, before in [((4, 4, 16), 0), ((4, 2, 32), 3), ((20, 10, 16), 2)]:
    assert trunk_error(shape, 5, before, torch.float32, "cpu") < 1e-5, shape
assert gate_error(torch.float32, "cpu") < 1e-6
"""


def test_the_way_is_chosen_by_what_runs_there() -> None:
    """Kernels in 16 bits on a GPU, for heads and rows that one program holds."""
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert best_way(cpu, torch.bfloat16, 128, 1) == best_way(gpu, torch.float32, 128, 1) == "plain"
    assert best_way(gpu, torch.bfloat16, 96, 1) == best_way(gpu, torch.bfloat16, 128, 65) == "plain"
    pytest.importorskip("triton")
    assert best_way(gpu, torch.bfloat16, 128, 5) == best_way(gpu, torch.float16, 64, 64) == "kernel"


@pytest.mark.slow
def test_kernels_are_plain_attention_by_the_interpreter() -> None:
    """Branches that share ancestors, unequal trunks and depths, heads that share keys."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    made = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
