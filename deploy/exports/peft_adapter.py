"""Low-rank adapters: merged into the weights, or as a folder that `PeftModel.from_pretrained` loads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import CheckpointError
from common.files.storage import write_json
from common.models.base import CaptionModel
from common.models.families.auto import Auto
from common.models.families.llava import Llava
from common.models.families.minigpt import MiniGpt
from common.models.weights.trained import write_safetensors

# Our names of LLaVA's parts -> those of transformers' model, in which an adapter lies.
LLAVA_NAMES = {
    "lm.model.": "model.language_model.",
    "lm.lm_head.": "lm_head.",
    "connector.0.": "model.multi_modal_projector.linear_1.",
    "connector.2.": "model.multi_modal_projector.linear_2.",
}
WHOLE_NAMES = {"lm.": ""}  # auto is transformers' model as it is; of minigpt the adapter fits the decoder alone


@dataclass(frozen=True)
class Adapter:
    """What an adapter folder holds.

    Args:
        config: adapter_config.json.
        tensors: by PEFT's names.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def write(self, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(folder / "adapter_model.safetensors", self.tensors.items())
        write_json(folder / "adapter_config.json", dict(self.config))


def adapter_of(model: CaptionModel, trained: Iterable[str], base: str | None) -> Adapter:
    """The model's adapters, with a trained connector beside them; to be taken before they are merged.

    Args:
        trained: names of all tensors that training changed.
        base: what the adapter is laid over, as `base_model_name_or_path`.

    Raises CheckpointError if the model has no adapters, if transformers has no model that they fit, or if more was
    trained than an adapter holds.
    """
    if model.lora is None:
        raise CheckpointError("this run trained no low-rank adapters (--trainable lora); export it merged")
    names = _names(model)
    rest = [name for name in trained if ".lora_" not in name]
    beyond = [name for name in rest if isinstance(model, MiniGpt) or not name.startswith(model.connector_parts)]
    if beyond:
        raise CheckpointError(
            f"{beyond[0]} was trained too, which an adapter of {model.name} cannot hold; export it merged"
        )
    parameters = {name.replace(".base_layer.", "."): p.detach() for name, p in model.named_parameters()}
    kept = [name for name in parameters if ".lora_" in name] + [name for name in rest if name in parameters]
    tensors = {f"base_model.model.{_renamed(_plain(name), names)}": parameters[name] for name in kept}
    return Adapter(_config(model, names, rest, base), tensors)


def merge_adapters(model: CaptionModel) -> int:
    """Add low-rank adapters to the weights that they adapt, and take them out. Returns how many there were."""
    layers = [(path, layer) for path, layer in model.named_modules() if hasattr(layer, "get_base_layer")]
    for path, layer in layers:
        merging: Any = layer
        merging.merge()
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, merging.get_base_layer())
    model.lora = None if layers else model.lora
    return len(layers)


def _names(model: CaptionModel) -> Mapping[str, str]:
    if isinstance(model, Llava):
        return LLAVA_NAMES
    if isinstance(model, Auto | MiniGpt):
        return WHOLE_NAMES
    raise CheckpointError(f"transformers has no {model.name} to lay an adapter over; export it merged")


def _plain(name: str) -> str:
    """Without the adapter's own name, which PEFT puts back when it loads."""
    return name.replace(".lora_A.default.", ".lora_A.").replace(".lora_B.default.", ".lora_B.")


def _renamed(name: str, names: Mapping[str, str]) -> str:
    start = next(start for start in names if name.startswith(start))
    return names[start] + name.removeprefix(start)


def _config(model: CaptionModel, names: Mapping[str, str], rest: Iterable[str], base: str | None) -> dict[str, Any]:
    from peft import LoraConfig

    assert model.lora is not None
    adapted = [path for path, layer in model.named_modules() if hasattr(layer, "get_base_layer")]
    saved = sorted({_owner(name, model.connector_parts, names) for name in rest})
    config = LoraConfig(
        r=model.lora.rank,
        lora_alpha=model.lora.alpha,
        lora_dropout=model.lora.dropout,
        target_modules=_targets([_renamed(f"{path}.", names).removesuffix(".") for path in adapted]),
        modules_to_save=saved or None,
        base_model_name_or_path=base,
        inference_mode=True,
        task_type="CAUSAL_LM",
    )
    values = config.to_dict()
    return {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for key, value in values.items()
    }


def _owner(name: str, connector: Iterable[str], names: Mapping[str, str]) -> str:
    """The connector's module that a tensor belongs to.

    Raises CheckpointError for a tensor beside all modules, as an adapter holds modules.
    """
    parts = [part for part in (*names, *connector) if part.endswith(".") and name.startswith(part)]
    if name in connector or not parts:
        raise CheckpointError(
            f"{name} was trained too, which an adapter cannot hold, as it is no module; export it merged"
        )
    return _renamed(max(parts, key=len), names).removesuffix(".")


def _targets(paths: Iterable[str]) -> str:
    """A pattern for the layers; their last names alone would hit the vision encoder's layers too."""
    shapes = {r"\.".join(r"\d+" if part.isdigit() else re.escape(part) for part in path.split(".")) for path in paths}
    return "|".join(sorted(shapes))
