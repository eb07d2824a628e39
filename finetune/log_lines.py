"""The progress bar of training, with each log as one short line on standard error."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback


class LogLines(ProgressCallback):
    """As the library's, but standard output stays clean for results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Write one line: step, then name and value."""
        if state.is_world_process_zero and logs:
            values = "  ".join(f"{name} {_short(value)}" for name, value in logs.items() if name != "epoch")
            tqdm.write(f"step {state.global_step}: {values}", file=sys.stderr)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
