"""A small Hugging Face hub on 127.0.0.1: the few endpoints that huggingface_hub asks, over folders on disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
OLD_COMMIT = "01d" + "a" * 37


@dataclass
class SmallHub:
    """Repositories by id, each a folder; `revisions` name -> commit, the same for all.

    Attributes:
        gated: repositories that answer 403.
        broken_after: bytes of each file after which the connection breaks; None: never.
        asked: paths of all requests.
    """

    repositories: dict[str, Path]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1": OLD_COMMIT})
    gated: set[str] = field(default_factory=set)
    broken_after: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def fetched(self) -> list[str]:
        """Names of the files whose contents were asked for."""
        return [path.rsplit("/", 1)[1] for path in self.asked if path.startswith("GET") and "/resolve/" in path]


@contextmanager
def served(hub: SmallHub) -> Iterator[SmallHub]:
    """Serve it until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.respond(body=True)

        def do_HEAD(self) -> None:
            self.respond(body=False)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def refuse(self, status: int, code: str) -> None:
            """An error as the hub says it."""
            self.send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

        def send(self, content: bytes, headers: dict[str, str], status: int = 200, body: bool = True) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body and hub.broken_after is not None and len(content) > hub.broken_after and "ETag" in headers:
                self.wfile.write(content[: hub.broken_after])
                self.wfile.flush()
                self.connection.close()
            elif body:
                self.wfile.write(content)

        def respond(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            about = parts[:2] == ["api", "models"]
            repo = "/".join(parts[2:4] if about else parts[:2])
            if repo not in hub.repositories:
                self.refuse(404, "RepoNotFound")
            elif about:
                self.describe(hub.repositories[repo], parts[4:], repo)
            else:
                self.give(hub.repositories[repo], repo, parts[3], "/".join(parts[4:]), body)

        def describe(self, folder: Path, rest: list[str], repo: str) -> None:
            revision = rest[1] if len(rest) > 1 else "main"
            commit = hub.revisions.get(revision, revision if revision in hub.revisions.values() else None)
            if commit is None:
                self.refuse(404, "RevisionNotFound")
                return
            names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            if rest[:1] == ["tree"]:
                answer: object = [
                    {"type": "file", "path": name, "oid": blob(folder / name), "size": (folder / name).stat().st_size}
                    for name in names
                ]
            else:
                answer = {"id": repo, "modelId": repo, "sha": commit, "siblings": [{"rfilename": n} for n in names]}
            self.send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def give(self, folder: Path, repo: str, revision: str, name: str, body: bool) -> None:
            commit = hub.revisions.get(revision, revision)
            if repo in hub.gated:
                self.refuse(403, "GatedRepo")
            elif not (folder / name).is_file():
                self.refuse(404, "EntryNotFound")
            else:
                content = (folder / name).read_bytes()
                self.send(content, {"ETag": f'"{blob(folder / name)}"', "X-Repo-Commit": commit}, body=body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def blob(path: Path) -> str:
    """The id that git gives a file's contents."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
