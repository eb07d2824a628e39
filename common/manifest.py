"""The manifest beside every result: resolved arguments, versions, commit, seed, model hash, image ids, losses."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.files.contents import file_hash
from common.files.hub import resolved
from common.files.storage import read_json, write_json
from common.paths import ROOT

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "open_clip_torch",
    "spacy",
    "nltk",
    "tokenizers",
    "pillow",
    "numpy",
)


def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the working tree, with '+' if files differ from it; None outside git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def model_hash(folder: Path | str | None) -> str | None:
    """Hash of a checkpoint: config and weight files of a folder, or the file itself."""
    if folder is None:
        return None
    folder = Path(folder)
    if folder.is_file():
        return file_hash([folder])
    kept = ("config.json", "open_clip_config.json")
    files = [p for p in sorted(folder.glob("*")) if p.name in kept or p.suffix in (".safetensors", ".bin", ".pth")]
    return file_hash(files) if files else None


def manifest(
    groups: Iterable[Any],
    *,
    model: Path | str | None = None,
    checkpoint: Path | str | None = None,
    image_ids: Iterable[int] = (),
    lost_images: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Everything that is needed to know what a result stands on.

    Args:
        groups: the argument dataclasses of the script.
        model, checkpoint: what was loaded; hashed.
        image_ids: images that the result rests on.
        lost_images: name -> reason of the images that could not be read.
        more: further entries.
    """
    arguments: dict[str, Any] = {}
    for group in groups:
        if is_dataclass(group) and not isinstance(group, type):
            arguments.update(asdict(group))
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "arguments": arguments,
        "versions": versions(),
        "commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_hash": model_hash(model),
        "checkpoint_hash": model_hash(checkpoint),
        "image_ids": sorted(image_ids),
        "lost_images": dict(lost_images or {}),
        **({"hub": dict(resolved())} if resolved() else {}),
        **more,
    }


def write_manifest(result: Path | str, value: Mapping[str, Any]) -> Path:
    """Write `NAME.manifest.json` beside the result file and return its path."""
    path = manifest_path(result)
    write_json(path, value)
    return path


def noted_beside(result: Path | str) -> dict[str, Any]:
    """The manifest beside a file; empty where there is none. Raises DataError for one that is not JSON."""
    path = manifest_path(result)
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def manifest_path(result: Path | str) -> Path:
    """Where the manifest of a result file lies: `NAME.manifest.json` beside it."""
    result = Path(result)
    return result.with_name(result.name + ".manifest.json")
