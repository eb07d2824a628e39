"""Ctrl-C or SIGTERM while a script is still importing: one line and code 130, as later.

Imported first, by a script that is run and by nothing else (`if __name__ == "__main__": import common.interrupts`);
:func:`common.cli.run` goes back to Python's own way, in which files are closed and locks given back.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from common.errors import INTERRUPTED


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(130)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and "RANK" not in os.environ:
    signal.signal(signal.SIGTERM, _leave)
