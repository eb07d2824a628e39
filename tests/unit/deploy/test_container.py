"""The image's files: the lock fits pyproject.toml and is complete, the Dockerfile says what the README promises."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from common.errors import DataError
from common.paths import ROOT
from deploy.container.replay import DOCKERFILE, Image, apply, instructions

LOCK = ROOT / "deploy" / "requirements.txt"
EXTRAS = ("processors", "quant", "tables")
LINUX = {"python_version": "3.11", "platform_machine": "x86_64", "sys_platform": "linux", "platform_system": "Linux"}


def locked() -> dict[str, Version]:
    """Name -> version of every package in the lock."""
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in lines}


def asked() -> list[Requirement]:
    """What pyproject.toml asks for, with the image's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *more)]


def test_the_lock_fits_every_range_of_the_project() -> None:
    """If this fails, run `make lock`."""
    found = locked()
    outside = [
        str(r) for r in asked() if not r.specifier.contains(found.get(canonicalize_name(r.name), Version("0a0")))
    ]
    assert not outside, "run make lock"


def test_the_lock_is_complete() -> None:
    """Everything that a locked package needs on Linux is locked too, as far as it is installed here to be asked."""
    found, looked_at = locked(), 0
    for name in found:
        try:
            needs = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        looked_at += 1
        for need in needs:
            wanted = need.marker is None or need.marker.evaluate({**LINUX, "extra": ""})
            assert not wanted or canonicalize_name(need.name) in found, f"{name} needs {need}; run make lock"
    assert looked_at > len(found) / 2


def test_every_locked_package_has_hashes() -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)


def test_the_lock_is_made_by_one_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    command = makefile[makefile.index("\nlock:") :].replace("\\\n", " ").splitlines()[2]
    words = shlex.split(command.replace("$(BIN)/", ""))
    assert words[:4] == ["uv", "pip", "compile", "--quiet"] and "--generate-hashes" in words
    assert [words[i + 1] for i, word in enumerate(words) if word == "--extra"] == list(EXTRAS)
    assert words[words.index("--output-file") + 1] == "deploy/requirements.txt"
    assert "#    make lock" in LOCK.read_text()


def test_conda_takes_the_same_lock() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "environment.yml").read_text())
    assert "python=3.11" in values["dependencies"]
    assert values["dependencies"][-1] == {"pip": ["--require-hashes", "-r requirements.txt"]}


def lines() -> list[tuple[str, str]]:
    """The Dockerfile's instructions."""
    return list(instructions(DOCKERFILE.read_text()))


def test_the_image_takes_the_lock_and_nothing_else() -> None:
    """No code, data or weights: an edit of the checkout reinstalls nothing."""
    assert [rest.split()[0] for word, rest in lines() if word in ("COPY", "ADD")] == ["requirements.txt"]
    ignored = (ROOT / "deploy" / ".dockerignore").read_text().split()
    assert ignored == ["*", "!requirements.txt"]
    assert not (ROOT / ".dockerignore").exists()


def test_the_image_has_a_compiler_no_root_and_no_caches() -> None:
    words = [word for word, _ in lines()]
    text = " ".join(rest for word, rest in lines() if word == "RUN")
    assert "gcc" in text and "rm -rf /var/lib/apt/lists/*" in text and "--no-cache-dir" in text
    assert "--require-hashes" in text
    users = [rest for word, rest in lines() if word == "USER"]
    assert users == ["efuf"] and "RUN" not in words[words.index("USER") :]
    assert dict(lines())["WORKDIR"] == "/workspace"


def test_packages_come_before_what_changes_more_often() -> None:
    """Layers: the system, the lock, its packages, then settings."""
    words = [word for word, _ in lines()]
    assert words.index("COPY") < words.index("USER") and words[0] == "FROM" and words[-1] == "CMD"
    runs = [rest for word, rest in lines() if word == "RUN"]
    assert "apt-get" in runs[0] and "requirements.txt" in runs[2]


def test_the_replay_reads_the_dockerfile(tmp_path: Path) -> None:
    image = Image(tmp_path)
    (tmp_path / "opt" / "efuf").mkdir(parents=True)
    for word, rest in lines():
        if word not in ("FROM", "RUN"):
            apply(image, word, rest)
    assert image.user == "efuf" and image.folder == "/workspace" and (tmp_path / "workspace").is_dir()
    assert (
        image.environment["PATH"].startswith("/opt/efuf/bin:/usr/local") and image.environment["HOME"] == "/home/efuf"
    )
    assert (tmp_path / "opt" / "efuf" / "requirements.txt").read_bytes() == LOCK.read_bytes()
    with pytest.raises(DataError, match="HEALTHCHECK is not known"):
        apply(image, "HEALTHCHECK", "NONE")
