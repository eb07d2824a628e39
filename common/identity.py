"""What a result belongs to: the model with every flag that changes it, and the content of its input.

Every step that continues a result notes this beside it (`common.outputs.settings`) and refuses to go on with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.args import MODEL_FAMILIES, ModelArguments
from common.files.contents import file_hash, images_hash, names_and_hash
from common.manifest import model_hash
from common.paths import MINI_LLAVA

# Flags of the model that change no result: where it runs and saves, how it may be loaded, and what is noted otherwise.
NEUTRAL = ("model", "device", "dtype", "trust_remote_code", "path", "ckpt_load_path", "ckpt_save_path")


def model_identity(args: ModelArguments, dtype: str) -> dict[str, Any]:
    """The model that the command line describes: files by their content, and every flag that changes it.

    Args:
        dtype: of the weights, resolved.
    """
    path = MINI_LLAVA if args.is_bundled() else args.chosen("path")
    checkpoint = args.chosen("ckpt_load_path")
    return {
        "model": args.model,
        "model_hash": content_hash(path),
        "model_files": companions_hash(path),
        "checkpoint_hash": content_hash(checkpoint),
        "dtype": dtype,
        **{name: _value(name, getattr(args, field)) for field, name in _chosen_flags(args)},
    }


def _chosen_flags(args: ModelArguments) -> list[tuple[str, str]]:
    """(field, name without the family) of the flags that change the chosen model."""
    found = []
    for field in fields(args):
        family, _, rest = field.name.partition("_")
        name = rest if family in MODEL_FAMILIES else field.name.removeprefix("model_")
        if name not in NEUTRAL and (family == args.model or family not in MODEL_FAMILIES):
            found.append((field.name, name))
    return found


def _value(name: str, value: Any) -> Any:
    return content_hash(value) if value and name.endswith(("_path", "_cfg")) else value


def content_hash(path: Path | str | None) -> str | None:
    """Hash of a checkpoint or file, the name itself where it is no file here (a name on a hub), None without one."""
    if not path:
        return None
    return (model_hash(path) if Path(path).exists() else None) or str(path)


def companions_hash(folder: Path | str | None) -> str | None:
    """Hash of what lies beside the weights and changes what they say: tokenizer, templates, image processing."""
    if folder is None or not Path(folder).is_dir():
        return None
    suffixes = (".json", ".model", ".txt", ".jinja", ".py")
    files = [p for p in sorted(Path(folder).iterdir()) if p.is_file() and p.suffix in suffixes]
    return names_and_hash([p.name for p in files], files)


def images_identity(folder: Path | str, names: Iterable[str], what: str = "images") -> dict[str, Any]:
    """Number and content of images: the same names with other pixels are other images."""
    names = set(names)
    return {what: len(names), f"{what}_sha256": images_hash(folder, names)}


def inputs_identity(**inputs: Path | str | None) -> dict[str, Any]:
    """name -> content of each file that a step reads; None where it reads none."""
    return {f"{name}_sha256": file_hash([Path(path)]) if path else None for name, path in inputs.items()}


def identity(step: Mapping[str, Any], *parts: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a step and the parts above as one mapping. Raises ValueError if two parts say the same name."""
    whole: dict[str, Any] = {}
    for part in (step, *parts):
        double = set(whole) & set(part)
        if double:
            raise ValueError(f"{', '.join(sorted(double))} stand in two parts of an identity")
        whole |= part
    return whole
