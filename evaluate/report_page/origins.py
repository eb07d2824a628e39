"""What the page was made from: manifests, versions, and the commands that do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arguments.blocks import STEPS
from common.files.storage import read_json
from common.manifest import manifest_path
from common.paths import display
from evaluate.report_page.sources import Sources

SCRIPTS = {path.rpartition("/")[2]: path for path in (m.replace(".", "/") + ".py" for m in STEPS.values())}
HASH = 12  # characters of a hash that are shown


@dataclass(frozen=True)
class Origin:
    """One file with what its manifest says of it."""

    what: str
    path: str
    command: str
    date: str
    commit: str
    facts: list[tuple[str, str]]
    versions: dict[str, str]


def origins(sources: Sources) -> list[Origin]:
    """Of all files, in the order of the work. Raises DataError for a manifest that is not JSON."""
    return [_origin(what, path, noted) for what, path, noted in _files(sources)]


def _files(sources: Sources) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    for path in sources.scores:
        yield "scores", path, _beside(path)
    if sources.spans is not None:
        yield "spans", sources.spans, _beside(sources.spans)
    if sources.trained is not None:
        weights = sources.trained / "trained.safetensors"
        yield "training", weights, _beside(weights)
    for judged, when in zip(sources.judged, ("before", "after"), strict=False):
        yield f"captions {when}", judged.captions, _beside(judged.captions)
        if judged.result is not None:
            value = read_json(judged.result)
            yield f"result {when}", judged.result, value.get("manifest") or {}


def _beside(path: Path) -> Mapping[str, Any]:
    beside = manifest_path(path)
    value = read_json(beside) if beside.is_file() else {}
    return value if isinstance(value, dict) else {}


def _origin(what: str, path: Path, noted: Mapping[str, Any]) -> Origin:
    versions = noted.get("versions")
    return Origin(
        what,
        display(path),
        _command(noted.get("command")),
        str(noted.get("date") or ""),
        str(noted.get("commit") or ""),
        list(_facts(noted)),
        {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
    )


def _command(words: Any) -> str:
    """The command line, as it is typed again; empty where it is not known."""
    if not isinstance(words, list) or not words:
        return ""
    script, *rest = map(str, words)
    return f"python {shlex.join([SCRIPTS.get(script, script), *rest])}"


def _facts(noted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    said = noted.get("arguments")
    arguments = said if isinstance(said, dict) else {}
    for name in ("model_hash", "checkpoint_hash"):
        if noted.get(name):
            yield name.replace("_", " "), str(noted[name])[:HASH]
    for name in ("clip_model", "prompt", "thresholds", "decoding", "captioning", "steps"):
        if noted.get(name):
            yield name.replace("_", " "), _text(noted[name])
    for name in ("seed", "preset", "objective", "trainable", "train_lr", "chair_mode"):
        if arguments.get(name) is not None:
            yield name.replace("_", " "), _text(arguments[name])
    quality = noted.get("quality")
    if isinstance(quality, dict) and isinstance(quality.get("auroc"), float):
        yield "AUROC", f"{quality['auroc']:.3f}"
    lost = noted.get("lost_images")
    if lost:
        yield "images that could not be read", str(len(lost))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    return str(value)
