"""What files hold, as one number: the same names with other contents are something else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

READERS = 8  # files that are hashed at once


def file_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of the files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def names_and_hash(names: Sequence[str], files: Sequence[Path]) -> str:
    """SHA-256 over names and contents; a file that is not there counts as such. Several are read at once."""
    with ThreadPoolExecutor(READERS) as pool:
        hashes = list(pool.map(_hash_if_there, files))
    return values_hash(zip(names, hashes, strict=True))


def _hash_if_there(path: Path) -> str | None:
    return file_hash([path]) if path.is_file() else None


def images_hash(folder: Path | str, names: Iterable[str]) -> str:
    """SHA-256 over images of a folder, whatever the order of the names."""
    names = sorted(set(names))
    return names_and_hash(names, [Path(folder) / name for name in names])


def values_hash(values: Iterable[Any]) -> str:
    """SHA-256 over values, such as the questions of a benchmark."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(f"{value!r}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
