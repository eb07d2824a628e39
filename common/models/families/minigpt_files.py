"""Where MiniGPT-4's separately published files are: given one by one, in the YAML config, or side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import CheckpointError, DataError
from common.files.hub import local
from common.files.json_text import as_record
from common.files.storage import read_yaml, require_file
from common.models.checkpoints.config_files import MiniGptValues
from common.paths import display

# Published names, looked for beside the projection file or in the folder that was given. One release misspells its own.
PROJECTIONS = (
    "pretrained_minigpt4_llama2_7b.pth",
    "pretrained_minigpt4_7b.pth",
    "prerained_minigpt4_7b.pth",
    "pretrained.pth",
)
VITS = ("eva_vit_g.pth",)
QFORMERS = ("blip2_pretrained_flant5xxl.pth",)
LLAMAS = ("Llama-2-7b-chat-hf", "llama-2-7b-chat-hf", "vicuna-7b", "vicuna")


@dataclass(frozen=True)
class MiniGptFiles:
    """The files of one MiniGPT-4, and what the YAML config says of it.

    `has_qformer` and `image_size` are None where the tensors decide.
    """

    projection: Path
    vit: Path
    llama: Path
    qformer: Path | None
    has_qformer: bool | None = None
    image_size: int | None = None
    max_target_tokens: int = 160
    end_symbol: str = "</s>"


def find_files(
    path: Path | None,
    config: str | Path | None = None,
    vit_path: str | Path | None = None,
    llama_path: str | Path | None = None,
    qformer_path: str | Path | None = None,
) -> MiniGptFiles:
    """Find every file: as given, else as the YAML config says, else under its published name in the same folder.

    Raises CheckpointError, naming the flag, for one that is nowhere.
    """
    yaml_path = None if config is None else require_file(config, "--minigpt_train_cfg")
    values = {} if yaml_path is None else _model_values(yaml_path)
    base = None if yaml_path is None else yaml_path.parent
    folder = path if path is not None and path.is_dir() else None
    given = None if folder is not None else path
    projection = _one(
        "projection file", "--minigpt_path", given or _from_yaml(values, "ckpt", base), folder, PROJECTIONS
    )
    beside = folder or projection.parent
    vit = _one("vision encoder file", "--minigpt_vit_path", vit_path, beside, VITS)
    llama = _one(
        "Llama folder", "--minigpt_llama_path", llama_path or _from_yaml(values, "llama_model", base), beside, LLAMAS
    )
    if not llama.is_dir():
        raise CheckpointError(f"{display(llama)} is not a Llama folder; give one with --minigpt_llama_path")
    qformer = qformer_path or _from_yaml(values, "q_former_model", base) or _present(beside, QFORMERS)
    return MiniGptFiles(
        projection,
        vit,
        llama,
        None if qformer is None else Path(qformer),
        has_qformer=values.get("has_qformer"),
        image_size=values.get("image_size"),
        max_target_tokens=values.get("max_txt_len") or 160,
        end_symbol=values.get("end_sym") or "</s>",
    )


def _model_values(path: Path) -> Mapping[str, Any]:
    try:
        values = read_yaml(path)
    except DataError as error:
        raise CheckpointError(str(error)) from None
    model = values.get("model") if isinstance(values, Mapping) else None
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{display(path)} has no `model` section; is it a MiniGPT-4 config?")
    try:
        as_record(dict(model), MiniGptValues, f"{display(path)}: model")
    except DataError as error:
        raise CheckpointError(str(error)) from None
    return model


def _from_yaml(values: Mapping[str, Any], key: str, base: Path | None) -> Path | None:
    """A path of the config, from here, from the config's folder or from the hub; None where it names none."""
    name = values.get(key)
    if not name or base is None:
        return None
    found = next((place for place in (Path(name), base / name) if place.exists()), None)
    return Path(local(str(name), f"{key} of --minigpt_train_cfg")) if found is None else found


def _present(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _one(what: str, flag: str, given: str | Path | None, folder: Path | None, names: tuple[str, ...]) -> Path:
    found = Path(given) if given else None if folder is None else _present(folder, names)
    if found is None:
        where = f" in {display(folder)}" if folder is not None else ""
        raise CheckpointError(
            f"no {what} of MiniGPT-4 was given, nor is there a {names[0]}{where}; give it with {flag}"
        )
    if not found.exists():
        raise CheckpointError(f"no {what} {display(found)}; give it with {flag}")
    return found
