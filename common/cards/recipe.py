"""How a checkpoint was trained, from the manifest beside it, as the lines of a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import plain
from common.files.storage import read_record
from common.manifest import manifest_path

LONGEST = 120  # characters of a value
SHOWN_VERSIONS = ("python", "torch", "transformers")


def manifest_beside(checkpoint: Path | str | None, name: str) -> dict[str, Any]:
    """What is noted of a checkpoint: a file, or a folder with the file `name`. Empty where nothing is.

    Raises DataError for a manifest that is no JSON object.
    """
    if not checkpoint:
        return {}
    place = Path(checkpoint)
    path = manifest_path(place / name if place.is_dir() else place)
    return read_record(path, dict[str, Any]) if path.is_file() else {}


def recipe_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of everything that a training's manifest notes."""
    return [(what, inline(value)) for what, value in _rows(manifest) if value]


def _rows(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given, counts = _mapping(manifest, "arguments"), _mapping(manifest, "input_counts")
    cut = _mapping(manifest, "thresholds")
    yield "data", _join(counts, {"training_captions": "captions", "training_samples": "spans and captions to learn"})
    yield "scores", _thresholds(cut)
    yield "objective", _words(given, ("objective",))
    yield "preset of the weights", _words(given, ("preset",))
    weights = ("neg_w_start", "pos_w_start", "sent_w", "repair_w", "gold_w")
    yield "weights laid over it", _pairs(given, weights)
    yield "trained part", _trained(given)
    yield "steps", _steps(manifest, given)
    yield "kept", _kept(manifest)
    yield "seed", "" if given.get("seed") is None else str(given["seed"])


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _join(counts: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return ", ".join(f"{counts[name]:,} {text}" for name, text in names.items() if isinstance(counts.get(name), int))


def _thresholds(cut: Mapping[str, Any]) -> str:
    if not all(isinstance(cut.get(name), int | float) for name in ("hallucinated", "grounded", "sentence")):
        return ""
    return (
        f"lowered below {cut['hallucinated']:g}, kept above {cut['grounded']:g}; captions kept above a mean of "
        f"{cut['sentence']:g}"
    )


def _words(given: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{given[name]}" for name in names if given.get(name))


def _pairs(given: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {given[name]:g}" for name in names if isinstance(given.get(name), int | float))


def _trained(given: Mapping[str, Any]) -> str:
    rank = given.get("lora_rank")
    bits = "4-bit" if given.get("load_in_4bit") is True else "8-bit" if given.get("decoder_dtype") == "fp8" else None
    return (
        _words(given, ("trainable",))
        + (f", rank {rank}" if rank else "")
        + (f", over a decoder of {bits} weights" if bits else "")
    )


def _steps(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    steps, rate, images = (manifest.get(name) for name in ("steps", "learning_rate", "images_a_step"))
    parts = [
        f"{steps:,}" if isinstance(steps, int) else "",
        f"of {images} images" if isinstance(images, int) and images else "",
        f"learning rate {rate:g}, {given.get('lr_scheduler_type', 'unknown')}" if isinstance(rate, int | float) else "",
    ]
    return ", ".join(part for part in parts if part).replace(", of", " of")


def _kept(manifest: Mapping[str, Any]) -> str:
    """Of a run with probes that kept the best: which step's weights these are."""
    probe, steps = _mapping(manifest, "probe"), manifest.get("steps")
    step = probe.get("kept_step")
    if not isinstance(step, int) or step == steps:
        return ""
    return f"the weights after step {step:,}, which the probes of the run judged best"


def made_from(manifest: Mapping[str, Any]) -> str:
    """Commit, versions and date of a training, for those who want the very same."""
    versions, commit = _mapping(manifest, "versions"), manifest.get("commit")
    parts = [f"commit {inline(str(commit))}"] if commit else []
    parts += [f"{name} {inline(str(versions[name]))}" for name in SHOWN_VERSIONS if name in versions]
    parts += [f"trained {inline(str(manifest['date']))}"] if manifest.get("date") else []
    return ", ".join(parts)


def inline(text: str) -> str:
    """Text of any origin as part of a line of Markdown, which it cannot break or mark up."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in plain(text, LONGEST))
