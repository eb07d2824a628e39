"""Checkpoints of what was trained: ours (safetensors and a JSON beside it), and the published step_*.pth."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from common.errors import CheckpointError
from common.files.storage import read_record, whole_file, write_json
from common.manifest import model_hash
from common.models.body import LoraSettings, ModelBody
from common.models.checkpoints.files import TensorFiles, open_file
from common.models.checkpoints.tensor_checks import require_finite, require_floats
from common.models.weights.frozen_layers import FewerBits
from common.models.weights.selection import add_lora
from common.paths import display
from common.progress import announce

WEIGHTS = "trained.safetensors"
CARD = "trained.json"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What trained.json says of the tensors beside it."""

    model: str
    selection: str | None = None
    base: str | None = None
    base_hash: str | None = None
    lora: LoraSettings | None = None
    tensors: tuple[str, ...] = ()


def read_card(path: Path) -> Card:
    """A trained.json. Raises DataError naming file and field, ArgumentError for adapters that cannot be."""
    return read_record(path, Card)


@dataclass(frozen=True)
class LoadReport:
    """What a trained checkpoint brought.

    Args:
        path: of the file.
        loaded: names of the parameters that it replaced.
        ignored: tensors of the file that are named exceptions (stray buffers).
        values: numbers loaded.
        untouched: parameters of the usual trained part, the connector, that the file does not hold.
    """

    path: Path
    loaded: tuple[str, ...]
    ignored: tuple[str, ...]
    values: int
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        text = f"loaded {len(self.loaded)} tensors ({self.values:,} values) from {display(self.path)}"
        if self.ignored:
            text += f"; ignored {len(self.ignored)} stray buffers"
        if self.untouched:
            text += f"; {len(self.untouched)} connector tensors keep the base model's values"
        return text


def load_trained(model: ModelBody, path: Path) -> LoadReport:
    """Lay a trained checkpoint over the model and announce what was loaded.

    Raises CheckpointError if the file is missing or of another model, a tensor unknown or of another shape, or
    nothing matched.
    """
    file = _weights_file(path)
    files, beside = open_file(file, "trained tensors", "--ckpt_load_path"), file.with_name(CARD)
    if file.suffix == ".safetensors" and beside.is_file():
        card = read_card(beside)
        _check_card(model, card, beside)
        _check_tensors(card, files)
    report = _lay_over(model, files)
    announce(str(report))
    return report


def _weights_file(path: Path) -> Path:
    """The file itself; in a folder ours, or the published one with the highest step."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"no trained checkpoint {display(path)}; give a folder with {WEIGHTS} or a step_*.pth")
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    steps = sorted(path.glob("step_*.pth"), key=lambda p: int((re.findall(r"\d+", p.stem) or ["-1"])[0]))
    if not steps:
        raise CheckpointError(f"{display(path)} holds neither {WEIGHTS} nor a step_*.pth; is it a trained checkpoint?")
    announce(f"{display(path)}: taking the last step, {steps[-1].name}")
    return steps[-1]


def _check_card(model: ModelBody, card: Card, path: Path) -> None:
    if card.model != model.name:
        raise CheckpointError(f"{display(path)} was trained on {card.model}, not on {model.name}; check --model")
    if card.lora is not None:
        add_lora(model, card.lora)
    if card.base_hash not in (None, base_hash(model)):
        announce(f"{display(path)} was trained over another base model than {display(model.source or '')}")


def _check_tensors(card: Card, files: TensorFiles) -> None:
    """Raise CheckpointError where the tensors are not those that the card lists; a copy may have been cut short."""
    differing = sorted(set(card.tensors) ^ set(files.shapes())) if card.tensors else []
    if differing:
        raise CheckpointError(
            f"{display(files.path)} and {CARD} are of different trainings: only one of them has {differing[0]}"
        )


def _lay_over(model: ModelBody, files: TensorFiles) -> LoadReport:
    parameters, fewer = _plain_names(model), in_fewer_bits(model)
    ignored = [name for name in files.shapes() if model.trained_layout().is_ignored(name)]
    named = ((name, tensor) for name, tensor in files if name not in ignored)
    ours = all(name in parameters for name in files.shapes() if name not in ignored)
    where = display(files.path)
    pairs = named if ours else model.trained_layout().to_modules(named, where)
    loaded: list[str] = []
    values = 0
    for name, tensor in pairs:
        if name in fewer:
            raise CheckpointError(
                f"{where} holds trained weights of {name}, a layer that is kept in 4 or 8 bits here; leave out "
                "--load_in_4bit, or --decoder_dtype fp8"
            )
        _replace(parameters, name, tensor, where)
        loaded.append(name)
        values += tensor.numel()
    if not loaded:
        raise CheckpointError(f"{where} holds no tensor of {model.name}; nothing was loaded")
    untouched = [name for name in parameters if name.startswith(model.connector_parts) and name not in loaded]
    return LoadReport(files.path, tuple(loaded), tuple(ignored), values, tuple(untouched))


def _plain(name: str) -> str:
    """A parameter's name as it is without adapters around its layer."""
    return name.replace(".base_layer.", ".")


def _plain_names(model: ModelBody) -> dict[str, torch.nn.Parameter]:
    return {_plain(name): parameter for name, parameter in model.named_parameters()}


def in_fewer_bits(model: ModelBody) -> set[str]:
    """Names of the parameters of layers that compute in 4 or 8 bits, forward or back: none of them can be replaced."""
    found = {
        f"{path}.{name}"
        for path, layer in model.named_modules()
        if isinstance(layer, FewerBits)
        for name, _ in layer.named_parameters(recurse=False)
    }
    four = {name for name, parameter in model.named_parameters() if hasattr(parameter, "quant_state")}
    return {_plain(name) for name in found | four}


def _replace(parameters: dict[str, torch.nn.Parameter], name: str, tensor: Tensor, where: str) -> None:
    if name not in parameters:
        raise CheckpointError(f"{where} holds a tensor for {name}, which this model does not have; check --model")
    parameter = parameters[name]
    if parameter.shape != tensor.shape:
        raise CheckpointError(
            f"{where}: the tensor for {name} has shape {list(tensor.shape)}, this model wants {list(parameter.shape)}"
        )
    require_floats(tensor, name, where)
    parameter.data.copy_(tensor)
    require_finite(parameter.data, tensor, name, where)


def save_trained(model: ModelBody, folder: Path, names: Sequence[str]) -> None:
    """Write the named parameters as trained.safetensors, and trained.json with what they belong to.

    Raises CheckpointError for a name that the model does not have.
    """
    parameters = _plain_names(model)
    names = [_plain(name) for name in names]
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise CheckpointError(f"cannot save {unknown[0]}: {model.name} has no such parameter")
    lora = model.lora if any(".lora_" in name for name in names) else None
    card = {
        "model": model.name,
        "selection": model.selection,
        "base": None if model.source is None else display(model.source),
        "base_hash": base_hash(model),
        "lora": None if lora is None else asdict(lora),
        "tensors": list(names),
    }
    write_json(folder / CARD, json.loads(json.dumps(card)))  # first: weights without it could be taken for others
    write_safetensors(folder / WEIGHTS, ((name, parameters[name].detach()) for name in names))


def write_safetensors(
    path: Path, tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a temporary name beside `path`, then rename. `metadata`: default, that they are torch's."""
    from safetensors.torch import save_file

    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors}
    with whole_file(path, in_folder=True) as temporary:  # safetensors writes to a temporary name of its own
        save_file(whole, str(temporary), metadata=dict(metadata or {"format": "pt"}))
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # the library makes it readable for its owner only


def base_hash(model: ModelBody) -> str | None:
    """Hash of the files that the model came from, computed once."""
    if model.source is not None and model.source_hash is None:
        model.source_hash = model_hash(model.source)
    return model.source_hash
