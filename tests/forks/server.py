"""Runs Python scripts as forks of itself: `python -P server.py SOCKET_FD LIBRARY ...`.

Every connection is one process: a message with its words, folder and environment and, beside it, its standard streams;
back come its number and, when it has ended, its code. It is killed when its connection is closed, and all are when the
server's standard input is. Nothing but imports happens before a fork, and no module of a checkout is among them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LARGEST = 1 << 20  # bytes of a message


def main() -> None:
    """Load, serve, and in a fork be the script."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    order = Server(listener).serve()
    if order is not None:
        become(order)


class Server:
    """The children that are alive, by the connection that asked for them."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.children: dict[socket.socket, int] = {}
        self.woken, self.wake = os.pipe()
        for end in (self.woken, self.wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)

    def serve(self) -> dict[str, Any] | None:
        """Returns None when the tests have ended, and in a fork what was ordered."""
        while True:
            ready, _, _ = select.select([0, self.listener, self.woken, *self.children], [], [])
            if 0 in ready:
                for child in self.children.values():
                    os.kill(child, signal.SIGKILL)
                return None
            if self.woken in ready:
                os.read(self.woken, 4096)
                self.reap()
            for connection in set(ready) & set(self.children):  # nothing more is ever sent: it was closed
                os.kill(self.children.pop(connection), signal.SIGKILL)
                connection.close()
            if self.listener in ready and (order := self.fork()) is not None:
                return order

    def reap(self) -> None:
        """Tell the codes of those that have ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for connection in [c for c, child in self.children.items() if child == ended[0]]:
                    del self.children[connection]
                    with suppress(OSError):
                        connection.send(str(os.waitstatus_to_exitcode(ended[1])).encode())
                    connection.close()

    def fork(self) -> dict[str, Any] | None:
        """Take an order. Returns it in the child."""
        connection, _ = self.listener.accept()
        message, streams, _, _ = socket.recv_fds(connection, LARGEST, 3)
        child = os.fork()
        if child:
            for stream in streams:
                os.close(stream)
            self.children[connection] = child
            connection.send(str(child).encode())
            return None
        own_folders()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for end in (self.woken, self.wake, *streams):
            os.close(end)
        for other in (self.listener, connection, *self.children):
            other.close()
        order: dict[str, Any] = json.loads(message)
        return order


def own_folders() -> None:
    """Temporary folders of libraries are not a fork's to remove: it has others in their place."""
    for clean_up in list(weakref.finalize._registry):
        held = clean_up.detach()
        if held and isinstance(held[0], TemporaryDirectory):
            TemporaryDirectory.__init__(held[0])


def become(order: dict[str, Any]) -> None:
    """What `python WORDS` does in that folder and environment."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    first, *rest = order["words"]
    named = first in ("-m", "-c")
    sys.argv = [rest[0] if first == "-m" else first, *rest[named:]]
    here = {"-m": order["folder"], "-c": ""}.get(first, str(Path(first).resolve().parent))
    sys.path[:0] = [here, *filter(None, order["environment"].get("PYTHONPATH", "").split(os.pathsep))]
    if first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
