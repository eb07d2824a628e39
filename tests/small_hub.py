"""A small Hugging Face hub on 127.0.0.1: the few endpoints that huggingface_hub asks, over folders on disk."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

COMMIT = "c0ffee" + "0" * 34
OLD_COMMIT = "01d" + "a" * 37


@dataclass
class SmallHub:
    """Repositories by id, each a folder; `revisions` name -> commit, the same for all.

    Attributes:
        gated: repositories that answer 403.
        broken_after: bytes of each file after which the connection breaks; None: never.
        asked: paths of all requests.
        root: folder of the repositories that are made by asking; None: none can be.
        tokens: token -> its role, of the one user "me", who may write below "me/" alone.
        large: what is uploaded apart from the commit that names it, by its hash.
    """

    repositories: dict[str, Path]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1": OLD_COMMIT})
    gated: set[str] = field(default_factory=set)
    broken_after: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""
    root: Path | None = None
    tokens: dict[str, str] = field(default_factory=lambda: {"good": "write", "reader": "read"})
    large: dict[str, bytes] = field(default_factory=dict)

    def fetched(self) -> list[str]:
        """Names of the files whose contents were asked for."""
        return [path.rsplit("/", 1)[1] for path in self.asked if path.startswith("GET") and "/resolve/" in path]


class Handler(BaseHTTPRequestHandler):
    """One request to `hub`, which a class below it names."""

    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond(body=True)

    def do_HEAD(self) -> None:
        self.respond(body=False)

    def do_POST(self) -> None:
        content = self.taken()
        path = unquote(urlsplit(self.path).path)
        if path == "/api/validate-yaml":
            self.answer(*header_verdict(json.loads(content)["content"]))
        elif self.may_write(path, content):
            self.take(path, content)

    def do_PUT(self) -> None:
        self.hub.large[self.path.rsplit("/", 1)[1]] = self.taken()
        self.send(b"", {})

    def taken(self) -> bytes:
        """The request's content."""
        self.hub.asked.append(f"{self.command} {self.path}")
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def role(self) -> str | None:
        """Of the token that was sent."""
        return self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def may_write(self, path: str, content: bytes) -> bool:
        name = json.loads(content).get("organization") if path == "/api/repos/create" else path.strip("/")
        theirs = name not in (None, "me") and "me" not in str(name).split("/")
        if self.role() is None:
            self.refuse(401, "InvalidToken")
        elif self.role() != "write" or theirs:
            self.refuse(403, "Forbidden")
        else:
            return True
        return False

    def take(self, path: str, content: bytes) -> None:
        if path == "/api/repos/create":
            repo = f"me/{json.loads(content)['name']}"
            if repo in self.hub.repositories:
                self.refuse(409, "RepoExists")
                return
            assert self.hub.root is not None
            self.hub.repositories[repo] = self.hub.root / repo
            self.hub.repositories[repo].mkdir(parents=True)
            (self.hub.repositories[repo] / ".gitattributes").write_text("*.safetensors filter=lfs")
            self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo})
        elif "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": mode_of(f["path"]), "shouldIgnore": False}
                for f in json.loads(content)["files"]
            ]
            self.answer(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.hub.url}/large/{o['oid']}"}}}
                for o in json.loads(content)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        else:
            self.commit(self.hub.repositories["/".join(path.split("/")[3:5])], content)

    def commit(self, folder: Path, content: bytes) -> None:
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            target = folder / value.get("path", "")
            target.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                target.write_bytes(b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                target.write_bytes(self.hub.large[value["oid"]])
            elif line["key"] == "deletedFile":
                target.unlink()
        self.answer(200, {"commitUrl": f"{self.hub.url}/x/y/commit/{COMMIT}", "commitOid": COMMIT})

    def answer(self, status: int, value: object) -> None:
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, status)

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
        if body and self.hub.broken_after is not None and len(content) > self.hub.broken_after and "ETag" in headers:
            self.wfile.write(content[: self.hub.broken_after])
            self.wfile.flush()
            self.connection.close()
        elif body:
            self.wfile.write(content)

    def respond(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        about = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if about else parts[:2])
        if path == "/api/whoami-v2":
            self.say_who()
        elif repo not in self.hub.repositories:
            self.refuse(404, "RepoNotFound")
        elif about:
            self.describe(self.hub.repositories[repo], parts[4:], repo)
        else:
            self.give(self.hub.repositories[repo], repo, parts[3], "/".join(parts[4:]), body)

    def say_who(self) -> None:
        if self.role() is None:
            self.refuse(401, "InvalidToken")
        else:
            self.answer(200, {"name": "me", "orgs": [], "auth": {"accessToken": {"role": self.role()}}})

    def describe(self, folder: Path, rest: list[str], repo: str) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self.hub.revisions.get(revision, revision if revision in self.hub.revisions.values() else None)
        if commit is None:
            self.refuse(404, "RevisionNotFound")
            return
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if rest[:1] == ["tree"]:
            answer: Any = [
                {"type": "file", "path": name, "oid": blob(folder / name), "size": (folder / name).stat().st_size}
                for name in names
            ]
        else:
            answer = {"id": repo, "modelId": repo, "sha": commit, "siblings": [{"rfilename": n} for n in names]}
            answer |= {"cardData": header_of(folder / "README.md")} if "README.md" in names else {}
        self.send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def give(self, folder: Path, repo: str, revision: str, name: str, body: bool) -> None:
        commit = self.hub.revisions.get(revision, revision)
        if repo in self.hub.gated:
            self.refuse(403, "GatedRepo")
        elif not (folder / name).is_file():
            self.refuse(404, "EntryNotFound")
        else:
            content = (folder / name).read_bytes()
            self.send(content, {"ETag": f'"{blob(folder / name)}"', "X-Repo-Commit": commit}, body=body)


@contextmanager
def served(hub: SmallHub) -> Iterator[SmallHub]:
    """Serve it until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def mode_of(name: str) -> str:
    """How the hub takes a file: weights apart."""
    return "lfs" if name.endswith(".safetensors") else "regular"


def header_of(card: Path) -> object:
    """The values in a card's header; none without one."""
    text = card.read_text()
    return yaml.safe_load(text.split("---")[1]) if text.startswith("---\n") else {}


def header_verdict(card: str) -> tuple[int, object]:
    """The hub's check of a card's header, as far as it is documented."""
    header = yaml.safe_load(card.split("---")[1])
    errors = [f'"{name}" is required' for name in ("library_name", "pipeline_tag") if name not in header]
    bases = header.get("base_model", [])
    for base in [bases] if isinstance(bases, str) else bases:
        errors += [] if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else [f'"base_model" {base} is no model id']
    return (400 if errors else 200), {"errors": [{"message": text} for text in errors], "warnings": []}


def blob(path: Path) -> str:
    """The id that git gives a file's contents."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
