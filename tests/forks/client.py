"""Stands in for `python` under a launcher: `python -S client.py SOCKET WORDS`, where WORDS are what is behind `python`.

The process is a fork of the server at the socket, with the streams, folder and environment of this one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def order(
    server: str, words: Sequence[str], streams: Sequence[int], folder: str, environment: Mapping[str, str]
) -> tuple[socket.socket, int]:
    """Start a process; the connection that it lives as long as, and its number."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(server)
    said = {"words": list(words), "folder": folder, "environment": dict(environment)}
    socket.send_fds(connection, [json.dumps(said).encode()], list(streams))
    return connection, int(connection.recv(64))


def main() -> None:
    """Order, pass on being told to end, end as it ends."""
    connection, child = order(sys.argv[1], sys.argv[2:], (0, 1, 2), str(Path.cwd()), os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    code = int(connection.recv(64) or 1)
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
