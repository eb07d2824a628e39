"""What files hold, as hashes; a file that has not been touched since is not read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files.contents import file_hash
from common.files.storage import read_json
from common.manifest import manifest_path
from deploy.steps.files import HEART


@dataclass
class Contents:
    """Hashes of files and folders.

    `known`: path -> [size, time of the last change in ns, hash]; kept between two calls of the pipeline.
    """

    known: dict[str, list[Any]] = field(default_factory=dict)

    def of(self, path: Path) -> str | None:
        """A hash of a file, or of a folder's files with their names; None if there is nothing.

        Of a training's folder only its result counts. With a file go the thresholds that its manifest notes, as they
        travel with it.
        """
        if path.is_file():
            return self._joined([self._file(path), _thresholds(path)])
        if not path.is_dir():
            return None
        heart = next((path / name for name in HEART.values() if (path / name).is_file()), None)
        if heart is not None:
            return self.of(heart)
        return self._joined([[str(file.relative_to(path)), self._file(file)] for file in _files(path)])

    def _file(self, path: Path) -> str:
        stat = path.stat()
        key, seen = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        found = self.known.get(key)
        if found is None or found[:2] != seen:
            found = [*seen, file_hash([path])]
            self.known[key] = found
        return str(found[2])

    @staticmethod
    def _joined(parts: Any) -> str:
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """All files below, but hidden ones, which are locks and half-written files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _thresholds(path: Path) -> Any:
    beside = manifest_path(path)
    return read_json(beside).get("thresholds") if beside.is_file() else None
